/** The tabs, by mouse and by arrow keys. */

import { $ } from "./dom.js";

const NAMES = ["trace", "publish", "connections", "log"];

/** Shows one of them. */
export function select(name) {
  for (const each of NAMES) {
    const chosen = each === name;
    $(`tab-${each}`).setAttribute("aria-selected", String(chosen));
    $(`tab-${each}`).tabIndex = chosen ? 0 : -1;
    $(each).hidden = !chosen;
  }
  document.dispatchEvent(new CustomEvent("tab", { detail: name }));
}

export function selected() {
  return NAMES.find((name) => !$(name).hidden);
}

export function begin() {
  for (const name of NAMES) $(`tab-${name}`).addEventListener("click", () => select(name));
  document.querySelector("[role=tablist]").addEventListener("keydown", ({ key }) => {
    const at = NAMES.indexOf(selected());
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: NAMES.length - 1 }[key];
    if (to === undefined) return;
    const name = NAMES[(to + NAMES.length) % NAMES.length];
    select(name);
    $(`tab-${name}`).focus();
  });
}
