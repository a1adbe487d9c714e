"""edge-classify: one-shot and --watch."""

import argparse
import fcntl
import gc
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from errno import EINVAL
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from edge import __version__

if TYPE_CHECKING:
    from edge.capture.files import FileState
    from edge.database.store import Store
    from edge.service.console import Console
    from edge.service.pipeline import Pipeline
    from edge.settings import Settings

EXIT_CODES = """\
exit codes: 0 done (unsupported files don't count); 1 done, but some files could not be read (each has its line);
2 wrong use or setup"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    if arguments is None:
        arguments = sys.argv[1:]
    if list(arguments) == ["--version"]:  # answered before anything heavy is imported
        print(f"edge-classify {__version__}")
        return 0
    from edge.commands.runner import run
    from edge.database.schema import SchemaError
    from edge.inference.model import ModelError
    from edge.settings import read_settings

    given = _parser().parse_args(arguments)
    return run("edge-classify", lambda: _run(read_settings(given.config, vars(given)), given), ModelError, SchemaError)


def _parser() -> argparse.ArgumentParser:
    from edge.settings import add_arguments

    parser = argparse.ArgumentParser(
        "edge-classify",
        description="Classify camera-trap frames and log each one once, with a reason.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files, or folders with all that is below")
    add_arguments(parser)
    parser.add_argument("--version", action="version", version=f"edge-classify {__version__}")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("-v", "--verbose", action="store_true", help="say more")
    loudness.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")
    return parser


def _run(settings: "Settings", given: argparse.Namespace) -> int:
    from edge.database.store import Store
    from edge.host.systemd_notify import ServiceManager
    from edge.service.console import Console, configure_logging, log
    from edge.service.crash_guard import CrashGuard
    from edge.service.frame_processor import FrameProcessor
    from edge.service.model_reload import choose_models
    from edge.service.pipeline import Hooks, Pipeline

    manager = ServiceManager()
    configure_logging(given.verbose, given.quiet)
    _check_sources(settings, given.paths)
    models = choose_models(settings)
    with _sole_user(settings.db):
        store = Store(settings.db, models, settings)
        try:
            announcer = Console(sys.stdout, given.quiet, store.detection if settings.json else None)
            log.info("model %s, database %s", models.title, settings.db.absolute())
            stop = _stop_on_signals()
            gc.freeze()  # what is there by now stays; looking through it for garbage would cost each frame 2 % more
            if settings.watch is not None:
                from edge.service.daemon import Daemon

                Daemon(settings, store, models, announcer, manager).run(stop)
            else:
                guard = CrashGuard(settings, store.ended_badly, store.has_crashed)
                processor = FrameProcessor(models, settings, store, guard)
                pipeline = Pipeline(processor, store, settings, guard, Hooks(announcer))
                _once(given.paths, store, pipeline, announcer, stop)
            manager.stopping()
            store.end()
            announcer.finish()
            return 1 if announcer.trouble and settings.watch is None else 0
        finally:
            store.close()


def _check_sources(settings: "Settings", paths: Sequence[Path]) -> None:
    from edge.settings import SettingsError

    if settings.watch is None and not paths:
        raise SettingsError("nothing to classify; give files or folders, or --watch DIR")
    if settings.watch is not None and paths:
        raise SettingsError("--watch takes one folder and no further paths; leave one of them out")
    # A folder that is not there is waited for: the card may be mounted later than this starts.
    if settings.watch is not None and settings.watch.exists() and not settings.watch.is_dir():
        raise SettingsError(f"{settings.watch} is no folder; check --watch")
    for path in paths:
        if not os.path.lexists(path):
            raise SettingsError(f"{path} does not exist; expected a file or a folder")


def _once(paths: Sequence[Path], store: "Store", pipeline: "Pipeline",
          announcer: "Console", stop: threading.Event) -> None:  # fmt: skip
    from edge.capture.files import STEP, files_below, see

    def files(on_error: Callable[[OSError], None] | None = None) -> Iterator["FileState"]:
        for path in paths:
            # A link that was named is meant; links met in a folder are not followed.
            absolute = os.path.realpath(path) if path.is_file() else os.path.abspath(path)
            if os.path.isdir(absolute):
                yield from files_below(absolute, on_error)
            elif (seen := see(absolute)) is not None:
                yield seen
            elif on_error:
                on_error(OSError(EINVAL, "it is neither a file nor a folder", absolute))

    if announcer.is_live:
        # Beside the work: a card with a million files is listed for minutes.
        threading.Thread(target=lambda: announcer.expect(sum(1 for _ in files())), daemon=True).start()

    def new() -> Iterator["FileState"]:
        listed = files(announcer.complain)
        while some := list(islice(listed, STEP)):
            unknown = store.unknown(some)
            announcer.pass_by(len(some) - len(unknown))
            yield from unknown

    pipeline.run(new(), stop)


def _stop_on_signals() -> threading.Event:
    """The frame in hand is finished and logged; a second signal ends at once."""
    stop = threading.Event()

    def handle(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    return stop


@contextmanager
def _sole_user(db: Path) -> Iterator[None]:
    """Hold the database for this process; the lock goes with the process, however it ends."""
    from edge.settings import SettingsError

    path = db.resolve()
    path = path.with_name(path.name + ".lock")
    try:
        handle = path.open("a")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror}); choose another folder with --db") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError(
                f"{db} is in use by another edge-classify; stop that one or choose another file with --db"
            ) from error
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise SettingsError(f"{db}: {error}; choose another file with --db") from error


if __name__ == "__main__":
    sys.exit(main())
