"""An HTTP/2 client made with `h2`: does what it is told, and says in JSON lines what it gets.

Usage: http2.py HOST PORT takes|lazy [CAFILE]. With `lazy` it makes no room for more than the first
64 KiB of answers; with CAFILE it speaks TLS.
Commands on standard input, one a line; streams are numbered from 0 in the order of `open`:
{"open": [[NAME, VALUE], ...], "end": BOOL}, {"stream": N, "data": HEX, "end": BOOL},
{"stream": N, "reset": CODE}, {"raw": HEX}.
"""

import json
import select
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events

host, port, takes = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "takes"
sock = socket.create_connection((host, port))
if len(sys.argv) > 4:
    context = ssl.create_default_context(cafile=sys.argv[4])
    context.set_alpn_protocols(["h2"])
    sock = context.wrap_socket(sock, server_hostname="localhost")
    assert sock.selected_alpn_protocol() == "h2"

# A server that says GOAWAY goes on with the streams that there are; `h2` would not let it.
machine = h2.connection.H2ConnectionStateMachine
client_open = h2.connection.ConnectionState.CLIENT_OPEN
goaway = h2.connection.ConnectionInputs.RECV_GOAWAY
machine._transitions[(client_open, goaway)] = (None, client_open)

config = h2.config.H2Configuration(
    header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
)
connection = h2.connection.H2Connection(config)
connection.initiate_connection()
streams = []


def say(**what):
    print(json.dumps(what), flush=True)


def number(event):
    return streams.index(event.stream_id)


def tell(event):
    if isinstance(event, h2.events.RemoteSettingsChanged):
        changed = event.changed_settings
        say(settings={int(code): setting.new_value for code, setting in changed.items()})
    elif isinstance(event, h2.events.ResponseReceived):
        say(stream=number(event), headers=dict(event.headers))
    elif isinstance(event, h2.events.DataReceived):
        if takes and event.flow_controlled_length:
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        say(stream=number(event), data=event.data.hex())
    elif isinstance(event, h2.events.StreamEnded):
        say(stream=number(event), end=True)
    elif isinstance(event, h2.events.StreamReset):
        say(stream=number(event), reset=int(event.error_code))
    elif isinstance(event, h2.events.ConnectionTerminated):
        say(goaway=int(event.error_code))


def obey(command):
    if "open" in command:
        streams.append(connection.get_next_available_stream_id())
        fields = [tuple(field) for field in command["open"]]
        connection.send_headers(streams[-1], fields, end_stream=command["end"])
    elif "raw" in command:
        sock.sendall(connection.data_to_send() + bytes.fromhex(command["raw"]))
    elif "reset" in command:
        connection.reset_stream(streams[command["stream"]], command["reset"])
    else:
        data = bytes.fromhex(command["data"])
        connection.send_data(streams[command["stream"]], data, end_stream=command["end"])


def flush():
    try:
        sock.sendall(connection.data_to_send())
    except OSError:
        pass  # What the server said before is still to be read.


def receive():
    try:
        data = sock.recv(1 << 16)
    except OSError:
        data = b""
    if not data:
        say(closed=True)
        sys.exit()
    for event in connection.receive_data(data):
        tell(event)


flush()
lines = b""
stdin = sys.stdin.buffer.raw
while True:
    pending = getattr(sock, "pending", lambda: 0)()
    ready = [sock] if pending else select.select([sock, stdin], [], [])[0]
    if sock in ready:
        receive()
    if stdin in ready:
        read = stdin.read(1 << 16)
        if not read:
            sys.exit()
        *whole, lines = (lines + read).split(b"\n")
        for line in whole:
            obey(json.loads(line))
    flush()
