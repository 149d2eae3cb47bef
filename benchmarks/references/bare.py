"""An aiohttp application that reads the body and answers: the minimum cost of receiving a request.

python -m benchmarks.references.bare PORT
"""

import sys

from aiohttp import web

from benchmarks.references.serving import run, serve


async def receive(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=b"{}", content_type="application/json")


def application() -> web.Application:
    application = web.Application()
    application.router.add_post("/hooks/{source}", receive)
    return application


if __name__ == "__main__":
    run(serve(application(), int(sys.argv[1])))
