"""The app: FastAPI with the Studio's own routes, and Gradio's pages mounted at its root."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldsight import registry
from fieldsight.errors import ConfigError, DataError, MissingExtraError
from fieldsight.studio import api, home, runs
from fieldsight.studio.context import PageContext
from fieldsight.studio.guard import Guard, only_uploads
from fieldsight.studio.jobs import Jobs
from fieldsight.studio.models import Models
from fieldsight.studio.pages import draw_page
from fieldsight.studio.results import ARCHIVE, Shelf

if TYPE_CHECKING:
    from fastapi import FastAPI

#: Largest file that may be uploaded.
MAX_UPLOAD = 256 * 2**20

#: A page that was written, by us or into a run: it shows pictures and styles of its own and reaches nothing else.
_APART = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox"

#: Addresses that no system may have as its id.
TAKEN = ("api", "runs", "results", "reports", "pictures", "gradio_api")


def build(runs_folder: Path) -> FastAPI:
    """Make the app: gallery, a page for each registered system, runs browser, API. No model is loaded.

    Args:
        runs_folder: folder of runs to browse; it may not exist yet.

    Raises:
        MissingExtraError: Gradio is not installed.
        ConfigError: a system's id is an address of the Studio itself.
    """
    _import_gradio()
    from fastapi import FastAPI

    models, jobs = Models(runs_folder), Jobs()
    shelf = Shelf(scratch() / "results")
    contexts = []
    for spec in registry.systems():
        if spec.id in TAKEN:
            raise ConfigError(f"A system can't be called '{spec.id}': the Studio uses that address itself.")
        contexts.append(PageContext(spec, runs_folder, scratch(), models, jobs, shelf))
    app = FastAPI(title="fieldsight Studio", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard)
    app.state.jobs = jobs
    _own_routes(app, shelf, runs_folder)
    for context in contexts:
        if context.spec.routes:
            registry.load(context.spec.routes)(app)
    _mount(app, contexts, runs_folder)
    return app


@cache
def scratch() -> Path:
    """The process's temporary folder; it goes when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="fieldsight-studio-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "uploads").mkdir()
    return folder


def _import_gradio() -> None:
    # read by Gradio and the hub client when they are imported: nothing is counted, nothing is sent
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(scratch() / "uploads")
    collecting = gc.isenabled()
    gc.disable()  # what an import makes stays: nothing to collect, and looking for it takes time
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(error.name or "gradio", "studio", "The Studio") from None
    finally:
        if collecting:
            gc.enable()


def _own_routes(app: FastAPI, shelf: Shelf, runs_folder: Path) -> None:
    from fastapi.responses import FileResponse, PlainTextResponse, Response

    def send(path: Path | None, policy: str) -> Response:
        if path is None:
            return PlainTextResponse("Not found", 404)
        if path.suffix == ".html":
            return FileResponse(path, media_type="text/html", headers={"content-security-policy": policy})
        name = "results.zip" if path.name == ARCHIVE else path.name
        return FileResponse(path, media_type="application/octet-stream", filename=name)

    @app.get("/results/{key}/{name:path}", response_model=None)
    def result(key: str, name: str) -> Response:
        return send(shelf.file(key, name), f"{_APART} allow-scripts; script-src 'unsafe-inline'")

    @app.get("/reports/{run}/report.html", response_model=None)
    def report(run: str) -> Response:
        return send(runs.report_of(runs_folder, run), _APART)

    @app.get("/pictures/{name}.png", response_model=None)
    def picture(name: str) -> Response:
        path = home.picture_of(registry.get(name)) if name in registry.names() else None
        return FileResponse(path, media_type="image/png") if path is not None else PlainTextResponse("Not found", 404)


def _mount(app: FastAPI, contexts: list[PageContext], runs_folder: Path) -> None:
    import gradio as gr

    from fieldsight.studio.look import css, theme

    demo = _desk()(title="fieldsight Studio", analytics_enabled=False, fill_width=True)
    with demo:
        home.draw_home()
    for context in contexts:
        with demo.route(context.spec.title, context.spec.id):
            draw_page(context)
            for verb in context.verbs():
                api.add(context, verb)
    with demo.route("Runs", "runs"):
        runs.draw_runs(runs_folder)
    with demo.route("API", "api"):
        api.draw_reference(contexts)
    demo.queue(max_size=64, api_open=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it does not render on the server is what we asked for
        gr.mount_gradio_app(
            app, demo, path="/", theme=theme(), css=css(), ssr_mode=False, mcp_server=False, pwa=False,
            run_history=False, footer_links=[], max_file_size=MAX_UPLOAD, show_error=False, enable_monitoring=False,
        )  # fmt: skip


def _desk() -> Any:
    """Gradio's Blocks, but no file is read that was not uploaded here: neither a path nor an address."""
    import gradio as gr

    class Desk(gr.Blocks):  # type: ignore[misc]
        async def preprocess_data(self, block_fn: Any, inputs: list[Any], *rest: Any, **more: Any) -> Any:
            try:
                only_uploads(inputs, scratch() / "uploads")
            except DataError as error:
                raise gr.Error(str(error), print_exception=False) from None
            return await super().preprocess_data(block_fn, inputs, *rest, **more)

    return Desk
