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
from monge.server import problems
from monge.server.batching.batcher import Batcher
from monge.server.follow import Follower
from monge.server.middleware.methods import Methods
from monge.server.middleware.redirects import Relative
from monge.server.models import Model, Models, open_model, warm_up
from monge.server.prometheus import Measured
from monge.server.routes import latents, v1, v2
from monge.server.routes.fast_path import FastPath, shortcuts
from monge.server.service import Limits, Service
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

    It answers `ready` once the model is warm. `app.state.service` is what its routes use, and what
    is told when the model does not draw.
    """
    service = Service(Models(first), limits or Limits())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.batcher = Batcher(service.limits.queue_images, service.measures.drew)
        life = asyncio.create_task(_live(service, follow, poll_s, threads, batches, marks))
        yield
        service.ready = False
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        await service.batcher.close()

    app = FastPath(
        title="monge",
        version=__version__,
        description="Images from a generator: the same ones for the same seed.",
        servers=[{"url": "./"}],  # beside its description, whatever a proxy puts in front of both
        lifespan=lifespan,
        responses=problems.DESCRIBED,
        docs_url=None,  # they load their scripts from elsewhere; /page/api.html does not
        redoc_url=None,
    )
    app.state.service = service
    app.measures = service.measures
    problems.install(app)
    routers = [v1.router(service), latents.router(service), v2.router(service)]
    for router in routers:
        app.include_router(router)
    app.short = shortcuts([route for router in routers for route in router.routes], first.name)
    _add_figures(app, service)
    _add_page(app)
    app.add_middleware(Relative)
    app.add_middleware(Methods, routes=app.routes)
    return app


async def _live(
    service: Service,
    follow: str | None,
    poll_s: float,
    threads: int,
    batches: Sequence[int] | None,
    marks: bool,
) -> None:
    """Warm up, then follow the alias."""
    model = service.models.current
    try:
        await asyncio.to_thread(warm_up, model)
    except Exception as error:
        service.unready = f"{model.name} does not draw: {reason(error)}"
        log.error("%s", service.unready)
        service.failed(error)
        return
    service.measures.answers_now(*model.facts.values())
    service.ready = True
    if follow is not None:
        provider = model.sampler.provider
        await Follower(
            service.models,
            service.measures,
            poll_s,
            lambda: look_up(follow),
            lambda: open_model(follow, provider, threads, batches, marks),
        ).run()


def _add_figures(app: FastAPI, service: Service) -> None:
    measures = service.measures

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
