"""WebSocket clients made with `websockets`: says on standard output, in JSON lines, what they get.

Usage: clients.py URL COUNT SUBPROTOCOL,... . A line {"client": N, "send": TEXT} on standard input sends a text.
"""

import asyncio
import json
import sys

import websockets


def say(client, **what):
    print(json.dumps({"client": client, **what}), flush=True)


async def client(number, url, offer, sockets):
    async with websockets.connect(url, compression=None, subprotocols=offer) as socket:
        sockets[number] = socket
        say(number, open=socket.subprotocol)
        try:
            while True:
                say(number, text=await socket.recv(decode=True))
        except websockets.ConnectionClosed as closed:
            if closed.rcvd is None:
                say(number, close=None, reason="")
            else:
                say(number, close=closed.rcvd.code, reason=closed.rcvd.reason)


async def commands(sockets):
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        await sockets[command["client"]].send(command["send"])


async def main(url, count, offer):
    sockets = {}
    listener = asyncio.create_task(commands(sockets))
    await asyncio.gather(*(client(number, url, offer, sockets) for number in range(count)))
    listener.cancel()


asyncio.run(main(sys.argv[1], int(sys.argv[2]), list(filter(None, sys.argv[3].split(",")))))
