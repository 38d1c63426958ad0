"""The application: routes, problems, figures, the page, and what lives as long as it does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from importlib import resources
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from monge import __version__
from monge.server import encoding, problems, v1, v2
from monge.server.batcher import Batcher
from monge.server.direct import Direct, shortcuts
from monge.server.drawing import Drawing, Limits
from monge.server.follow import Follower
from monge.server.measures import Measured
from monge.server.methods import Methods
from monge.server.models import Model, Models, open_model, warm_up
from monge.server.relative import Relative
from monge.serving.origin import look_up
from monge.serving.reasons import reason

log = logging.getLogger(__name__)


def build(
    first: Model,
    limits: Limits | None = None,
    *,
    follow: str | None = None,
    poll_s: float = 10.0,
    threads: int = 0,
    batches: Sequence[int] | None = None,
    marks: bool = True,
) -> FastAPI:
    """Build an ASGI application that serves `first`, and follows the registry address `follow`.

    It answers `ready` once the model is warm. `app.state.drawing` is what its routes use, and what
    is told when the model does not draw.
    """
    drawing = Drawing(Models(first), limits or Limits())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        drawing.batcher = Batcher(drawing.limits.queue_images, drawing.measures.drew)
        life = asyncio.create_task(_live(drawing, follow, poll_s, threads, batches, marks))
        yield
        drawing.ready = False
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        await drawing.batcher.close()

    app = Direct(
        title="monge",
        version=__version__,
        description="Images from a generator: the same ones for the same seed.",
        servers=[{"url": "./"}],  # beside its description, whatever a proxy puts in front of both
        lifespan=lifespan,
        responses=problems.DESCRIBED,
        docs_url=None,  # they load their scripts from elsewhere; /page/api.html does not
        redoc_url=None,
    )
    app.state.drawing = drawing
    app.measures = drawing.measures
    problems.install(app)
    routers = [v1.router(drawing), encoding.router(drawing), v2.router(drawing)]
    for router in routers:
        app.include_router(router)
    app.short = shortcuts([route for router in routers for route in router.routes], first.name)
    _add_figures(app, drawing)
    _add_page(app)
    app.add_middleware(Relative)
    app.add_middleware(Methods, routes=app.routes)
    return app


async def _live(
    drawing: Drawing,
    follow: str | None,
    poll_s: float,
    threads: int,
    batches: Sequence[int] | None,
    marks: bool,
) -> None:
    """Warm up, then follow the alias."""
    model = drawing.models.current
    try:
        await asyncio.to_thread(warm_up, model)
    except Exception as error:
        drawing.unready = f"{model.name} does not draw: {reason(error)}"
        log.error("%s", drawing.unready)
        drawing.failed(error)
        return
    drawing.measures.answers_now(*model.facts.values())
    drawing.ready = True
    if follow is not None:
        provider = model.sampler.provider
        await Follower(
            drawing.models,
            drawing.measures,
            poll_s,
            lambda: look_up(follow),
            lambda: open_model(follow, provider, threads, batches, marks),
        ).run()


def _add_figures(app: FastAPI, drawing: Drawing) -> None:
    measures = drawing.measures

    @app.get(
        "/metrics",
        tags=["figures"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app.add_middleware(Measured, measures=measures)


def _add_page(app: FastAPI) -> None:
    folder = Path(str(resources.files("monge.server") / "page"))

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(folder / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(None, 308, {"Location": "page/api.html"})

    app.mount("/page", StaticFiles(directory=folder, check_dir=False), "page")
