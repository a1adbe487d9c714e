"""`edge-classify`: classify the files that are given, or watch a folder until stopped."""

import argparse
import fcntl
import gc
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EINVAL
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from edge import __version__

if TYPE_CHECKING:
    from edge.capture.files import FileState
    from edge.database.store import Store
    from edge.service.console import Console
    from edge.service.pipeline import Pipeline
    from edge.settings.options import Settings

EXIT_CODES = """\
exit codes: 0 done (unsupported files don't count; --watch that was told to stop); 1 done, but some files could not
be read (each has its line); 2 wrong use or setup; 130 stopped before all given files were done"""
STOPPING = b"stopping after the frames in hand; once more stops at once\n"
LISTING_S = 2.0
"""How long an interrupted run may count what is left."""
IMAGE_DIGESTS_S = 3.0
"""How long a run may work at the end on what an earlier version did not log yet."""


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
    from edge.settings.options import read_settings

    given = _parser().parse_args(arguments)
    return run(
        "edge-classify",
        lambda: _run(read_settings(given.config, vars(given)), given.paths, given.verbose, given.quiet),
        ModelError,
        SchemaError,
    )


def _parser() -> argparse.ArgumentParser:
    from edge.commands.runner import Parser
    from edge.settings.options import add_arguments

    parser = Parser(
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


def _run(settings: "Settings", paths: Sequence[Path], verbose: bool, quiet: bool) -> int:
    import msgspec

    from edge.commands.runner import ExitCode
    from edge.database.disk_guard import DatabaseWaits
    from edge.database.store import Store
    from edge.host.systemd_notify import ServiceManager
    from edge.service.console import Console, configure_logging, log
    from edge.service.crash_guard import CrashGuard
    from edge.service.frame_processor import FrameProcessor
    from edge.service.model_reload import unproven
    from edge.service.model_trial import load_tried_models
    from edge.service.pipeline import Hooks, Pipeline

    manager = ServiceManager()
    folder = Path(os.path.abspath(settings.watch)) if settings.watch is not None else _common_folder(paths)
    console = Console(sys.stdout, folder, quiet, settings.json)
    configure_logging(verbose, quiet, console.live_line)
    _check_sources(settings, paths)
    models = load_tried_models("edge-classify", settings)
    watched = paths if settings.watch is None else [settings.watch]
    settings = msgspec.structs.replace(settings, sources=tuple(Path(os.path.abspath(path)) for path in watched))
    with _sole_user(settings.db):
        store = Store(settings.db, models, settings)
        settings = store.settings
        try:
            console.begin(store)
            log.info("model %s, database %s%s", models.title, settings.db.absolute(), unproven(models))
            stop = _stop_on_signals(quiet)
            gc.freeze()  # what is there by now stays; looking through it for garbage would cost each frame 2 % more
            left = None
            if settings.reclassify and (frames := store.decide_again(stop)):
                log.info("%d frames decided again from stored probabilities", frames)
            if settings.watch is not None:
                _tell_what_reports_use(store)
                from edge.service.daemon import Daemon

                Daemon(settings, store, models, console, manager).run(stop)
            else:
                guard = CrashGuard(settings, store.ended_badly, store.has_crashed)
                processor = FrameProcessor(models, settings, store, guard)
                pipeline = Pipeline(processor, store, settings, guard, Hooks(console))
                left = _once(paths, store, pipeline, console, stop)
                if not stop.is_set():
                    with suppress(DatabaseWaits):
                        store.work_out_image_digests(IMAGE_DIGESTS_S)
            manager.stopping()
            store.end()
            if settings.watch is None:  # at the end, so that the number of frames is right
                _tell_what_reports_use(store)
            console.finish(left or "")
            if left is not None:
                return ExitCode.INTERRUPTED
            return ExitCode.PROBLEM if console.trouble and settings.watch is None else ExitCode.DONE
        finally:
            store.close()


def _tell_what_reports_use(store: "Store") -> None:
    from edge.service.console import log

    if line := store.difference_from_reports():
        log.warning("%s", line)


def _common_folder(paths: Sequence[Path]) -> Path:
    """The folder that was given, or that all given paths have in common: paths of frames are shown relative to it."""
    folders = [os.path.abspath(path if path.is_dir() else path.parent) for path in paths]
    return Path(os.path.commonpath(folders)) if folders else Path.cwd()


def _check_sources(settings: "Settings", paths: Sequence[Path]) -> None:
    from edge.settings.strict_toml import SettingsError

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


def _once(
    paths: Sequence[Path], store: "Store", pipeline: "Pipeline", console: "Console", stop: threading.Event
) -> str | None:
    """Classify what is there now; when that was stopped before the end, gives how much is left, in words."""
    from edge.capture.files import STEP, file_state, files_below

    def files(on_error: Callable[[OSError], None] | None = None) -> Iterator["FileState"]:
        for path in paths:
            # A link that was named is meant; links met in a folder are not followed.
            absolute = os.path.realpath(path) if path.is_file() else os.path.abspath(path)
            if os.path.isdir(absolute):
                yield from (found for found in files_below(absolute, on_error) if not store.is_own(found.path))
            elif (found := file_state(absolute)) is not None:
                yield found
            elif on_error:
                on_error(OSError(EINVAL, "it is neither a file nor a folder", absolute))

    if console.live_line.is_live:
        # Beside the work: a card with a million files is listed for minutes.
        threading.Thread(target=lambda: console.expect(sum(1 for _ in files())), daemon=True).start()

    def new() -> Iterator["FileState"]:
        listed = files(console.complain)
        while some := list(islice(listed, STEP)):
            unknown = store.unknown(some)
            console.pass_by(len(some) - len(unknown))
            yield from unknown

    pipeline.run(new(), stop)
    if not stop.is_set():
        return None
    end = time.monotonic() + LISTING_S
    total = sum(1 for _ in takewhile(lambda _: time.monotonic() < end, files()))
    if time.monotonic() >= end:
        return "interrupted, the next run goes on from here"
    return f"{total - console.done} of {total} left" if total > console.done else None


def _stop_on_signals(quiet: bool) -> threading.Event:
    """The frames in hand are finished and logged; a second signal ends at once."""
    stop = threading.Event()

    def handle(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()
        if not quiet:
            # Said at once, and past Python's streams: they may be at work, and can't be entered a second time.
            with suppress(OSError):
                os.write(2, (b"\r\x1b[K" if os.isatty(2) else b"") + STOPPING)

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    return stop


@contextmanager
def _sole_user(db: Path) -> Iterator[None]:
    """Hold the database for this process; the lock goes with the process, however it ends."""
    from edge.database.schema import PRIVATE
    from edge.host.named_file import check_regular
    from edge.settings.strict_toml import SettingsError

    path = Path(os.path.realpath(db))
    try:
        with suppress(FileNotFoundError):
            check_regular(os.stat(db), db)
    except OSError as error:
        raise SettingsError(f"{db}: it is no database ({error.strerror}); choose another file with --db") from error
    path = path.with_name(path.name + ".lock")
    try:
        # Not waiting: a pipe may stand in its place.
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.fdopen(os.open(path, flags, PRIVATE), "rb")
        check_regular(os.fstat(handle.fileno()), path)
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
