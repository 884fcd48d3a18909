// Holds the server's descriptions against the official schemas, and what a server said against its descriptions.
//
// Usage: descriptions.js WHAT, with JSON on standard input. Says on standard output, as a JSON array, what is wrong.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Validator } from "@seriousme/openapi-schema-validator";
import Ajv from "ajv";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { CloudEvent } from "cloudevents";

const what = process.argv[2];
const input = JSON.parse(readFileSync(0, "utf8"));
const faults = [];

const ajv = (Kind) => addFormats(new Kind({ strict: false, allErrors: true }));
const told = (validate) => JSON.stringify(validate.errors.slice(0, 5));

// Of `event.json`: strict, so that a keyword that is not one is a fault.
function events({ schema, events }) {
  const strict = addFormats(new Ajv2020({ strict: true, strictTypes: false, strictRequired: false, allErrors: true }));
  const validate = strict.compile(schema);
  for (const event of events) {
    if (!validate(event)) faults.push(`${JSON.stringify(event)}: ${told(validate)}`);
  }
}

// Texts, as a reader with the official library takes them.
function cloudevents({ texts }) {
  for (const text of texts) {
    try {
      const event = new CloudEvent(JSON.parse(text), true);
      if (typeof event.data !== "object") faults.push(`${text}: data is ${typeof event.data}`);
    } catch (error) {
      faults.push(`${text}: ${error}`);
    }
  }
}

async function openapi({ openapi }) {
  const result = await new Validator().validate(openapi);
  if (!result.valid) faults.push(JSON.stringify(result.errors));
}

function asyncapi({ asyncapi }) {
  const specs = createRequire(import.meta.url)("@asyncapi/specs");
  const validate = ajv(Ajv).compile(specs.schemasWithoutId["3.0.0"]);
  if (!validate(asyncapi)) faults.push(told(validate));
}

const escape = (text) => encodeURIComponent(text.replaceAll("~", "~0").replaceAll("/", "~1"));

// Of answers: each is described, with all of its members and headers.
function exchanges({ openapi, exchanges }) {
  const all = ajv(Ajv2020).addSchema(openapi, "openapi.json", undefined, false);
  const at = (place) => ({ $ref: `openapi.json#/${place.map(escape).join("/")}`, unevaluatedProperties: false });
  for (const { method, route, status, headers, body } of exchanges) {
    const say = (why) => faults.push(`${method} ${route} ${status}: ${why}`);
    const place = ["paths", route, method.toLowerCase(), "responses", String(status)];
    const response = place.reduce((value, key) => value?.[key], openapi);
    if (!response) {
      say("not described");
      continue;
    }
    for (const [name, { $ref }] of Object.entries(response.headers ?? {})) {
      const header = $ref.slice(2).split("/").reduce((value, key) => value[key], openapi);
      const value = headers[name.toLowerCase()];
      if (value === undefined) {
        if (header.required) say(`${name} is missing`);
        continue;
      }
      const validate = all.compile(header.schema);
      if (!validate(header.schema.type === "integer" ? Number(value) : value)) say(`${name}: ${told(validate)}`);
    }
    for (const name of Object.keys(headers)) {
      const ours = /^(x-|retry-after|idempotency-|www-)/.test(name);
      const known = Object.keys(response.headers ?? {}).some((known) => known.toLowerCase() === name);
      if (ours && !known) say(`${name} is not described`);
    }
    const [type] = (headers["content-type"] ?? "").split(";");
    const described = Object.keys(response.content ?? {}).find((known) => known.split(";")[0] === type);
    if (body === "" && !response.content) continue;
    if (!described) {
      say(`${type} is not described`);
    } else if (type.endsWith("json")) {
      const schema = response.content[described].schema;
      const validate = all.compile(schema === true ? {} : at([...place, "content", described, "schema"]));
      if (!validate(JSON.parse(body))) say(`${body.slice(0, 500)}: ${told(validate)}`);
    }
  }
}

await { events, cloudevents, openapi, asyncapi, exchanges }[what](input);
process.stdout.write(JSON.stringify(faults));
