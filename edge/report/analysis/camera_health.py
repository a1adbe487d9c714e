"""Problems of cameras and devices: silence, blank frames, flash, moved cameras, clocks, disks, unreadable files."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.report.analysis.scene_change import Change, scene_changes
from edge.report.analysis.study import Study
from edge.report.analysis.sun import sun_of_day
from edge.report.read.believable_times import LEAP_S
from edge.report.read.details import Details
from edge.report.read.local_time import DAY_S, NO_TIME, day_name
from edge.report.read.survey import CLASSIFIED, UNREADABLE, WRONG_CLOCK, doubt_bit
from edge.vocabulary import ClockDoubt

Topic = Literal["silence", "blanks", "flash", "scene", "clock", "disk", "files", "watch"]

SILENCE_LEAST_S = 2 * DAY_S
SILENCE_HABITS = 5  # times the camera's longest ordinary silence
TRIGGERS_FOR_HABIT = 20
STORM_FRAMES = 100
STORM_BLANK_SHARE = 0.8
FRAMES_FOR_NIGHT_CHECK = 50
NIGHT_SHARE_LOST = 0.1
DISK_WARNING_DAYS = 30
ROOM_BYTES = 20_000_000_000
"""What the advice on a full disk asks for."""
UNREADABLE_SHARE = 0.05
DRIFT_S = 600


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem. Days are local, since 1970-01-01."""

    where: str
    """Deployment, or `device` for what concerns all cameras of a database."""
    topic: Topic
    text: str
    """One line with dates."""
    first_day: int
    last_day: int
    lasting: bool
    """Whether it lasts until the end of the data, so that somebody should go there."""


def find_problems(study: Study) -> list[Finding]:
    """All problems, ongoing ones first."""
    changes = scene_changes(study)
    found: list[Finding] = []
    for place, deployment in enumerate(study.survey.deployments):
        watch = _Watch.of(study, place)
        if watch is None:
            continue
        found += _device_gaps(study, place)
        found += _clock(study, place, watch)
        believable = watch.believable()
        for check in (_silences, _storms, _nights):
            found += check(believable)
        found += [_changed(deployment.name, change) for change in changes.get(place, [])]
    found += [*_disks(study), *_watches(study), *_files(study), *_drifts(study), *_devices_behind(study)]
    return sorted(found, key=lambda f: (not f.lasting, f.where, f.first_day))


@dataclass(frozen=True, slots=True)
class _Watch:
    """The classified, dated frames of one deployment."""

    name: str
    latitude: float | None
    longitude: float | None
    local: NDArray[np.int64]
    at: NDArray[np.int64]
    blank: NDArray[np.bool_]
    doubt: NDArray[np.int16]
    outside: NDArray[np.bool_]
    good: NDArray[np.bool_]
    start_at: int
    end_at: int
    """The period that a person gave, UTC seconds; `NO_TIME` where none was given."""
    end_local: int
    """End of the deployment as far as known."""
    gaps: tuple[tuple[int, int], ...]
    """Gaps in which the device gave no sign of life, local seconds."""

    @classmethod
    def of(cls, study: Study, place: int) -> "_Watch | None":
        deployment, span = study.survey.deployments[place], study.survey.frames.of(place)
        frames, blank = study.survey.frames.take(span), study.blank[span]
        mine = np.flatnonzero((frames.status == CLASSIFIED) & (frames.at != NO_TIME))
        if not len(mine):
            return None
        effort = study.efforts[place]
        local = frames.local[mine][frames.clock_good[mine]]
        end = max((effort.last_day + 1) * DAY_S - 1, int(local[-1]) if len(local) else 0) if len(effort.active) else 0
        return cls(
            deployment.name,
            deployment.latitude,
            deployment.longitude,
            frames.local[mine],
            frames.at[mine],
            blank[mine],
            frames.doubt[mine],
            frames.outside[mine],
            frames.clock_good[mine],
            deployment.start_at,
            deployment.end_at,
            end,
            effort.gaps,
        )

    def believable(self) -> "_Watch":
        """The same without the frames that count in no rate."""
        kept = np.flatnonzero(self.good)
        return replace(
            self,
            **{name: getattr(self, name)[kept] for name in ("local", "at", "blank", "doubt", "outside", "good")},
        )


def _period(first: int, last: int) -> str:
    """The period from one day to another (since 1970-01-01) in words."""
    a, b = day_name(first * DAY_S), day_name(last * DAY_S)
    return f"on {a}" if a == b else f"from {a} to {b}"


def _device_gaps(study: Study, place: int) -> Iterator[Finding]:
    effort, name = study.efforts[place], study.survey.deployments[place].name
    for begin, finish, hours in _merged(effort.gaps):
        first, last = begin // DAY_S, finish // DAY_S
        text = f"no sign of life for {_span(hours)} {_period(first, last)}: power, device or heat?"
        yield Finding(name, "silence", text, first, last, last >= effort.last_day)


def _merged(gaps: tuple[tuple[int, int], ...], apart_s: int = 12 * 3600) -> list[tuple[int, int, float]]:
    """(from, to, hours of silence) of gaps that lie close together."""
    merged: list[tuple[int, int, float]] = []
    for begin, finish in gaps:
        hours = (finish - begin) / 3600
        if merged and begin - merged[-1][1] <= apart_s:
            merged[-1] = (merged[-1][0], finish, merged[-1][2] + hours)
        else:
            merged.append((begin, finish, hours))
    return merged


def _span(hours: float) -> str:
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.1f} days"


def _silences(watch: _Watch) -> Iterator[Finding]:
    """Gaps far longer than those of the camera when it works."""
    if len(watch.local) < TRIGGERS_FOR_HABIT:
        return
    triggers = watch.local[np.concatenate([[True], np.diff(watch.local) > 60])]
    if len(triggers) < TRIGGERS_FOR_HABIT:
        return
    steps = np.diff(triggers)
    limit = max(SILENCE_LEAST_S, SILENCE_HABITS * float(np.quantile(steps, 0.95)))
    edges = np.append(triggers, max(watch.end_local, int(triggers[-1])))
    for i in np.flatnonzero(np.diff(edges) > limit).tolist():
        device_s = sum(max(0, min(b, int(edges[i + 1])) - max(a, int(edges[i]))) for a, b in watch.gaps)
        if device_s > (edges[i + 1] - edges[i]) / 2:
            continue  # the whole device was silent, which is a problem of its own
        first, last = int(edges[i]) // DAY_S, int(edges[i + 1]) // DAY_S
        lasting = i == len(edges) - 2
        text = f"no frame for {_span((edges[i + 1] - edges[i]) / 3600)} {_period(first, last)}, much longer than usual"
        yield Finding(watch.name, "silence", f"{text}: battery, memory card or cable?", first, last, lasting)


def _storms(watch: _Watch) -> Iterator[Finding]:
    """Days on which wind, heat or light triggered the camera again and again."""
    if not len(watch.local):
        return
    days, place = np.unique(watch.local // DAY_S, return_inverse=True)
    blanks = np.bincount(place, watch.blank)
    frames = np.bincount(place)
    usual = float(np.median(blanks))
    stormy = (blanks >= STORM_FRAMES) & (blanks >= STORM_BLANK_SHARE * frames) & (blanks > 3 * usual)
    for first, last in _runs_of_days(days[stormy]):
        number = int(blanks[(days >= first) & (days <= last)].sum())
        lasting = last >= int(days[-1]) and last >= watch.end_local // DAY_S - 1
        text = f"{number} blank frames {_period(first, last)}: grass, branches or sun?"
        yield Finding(watch.name, "blanks", text, first, last, lasting)


def _runs_of_days(days: NDArray[np.int64], apart: int = 2) -> list[tuple[int, int]]:
    if not len(days):
        return []
    cuts = np.flatnonzero(np.diff(days) > apart)
    return list(zip(days[np.r_[0, cuts + 1]].tolist(), days[np.r_[cuts, len(days) - 1]].tolist(), strict=True))


def _nights(watch: _Watch) -> Iterator[Finding]:
    """Cameras without frames at night, whose flash may be broken."""
    if len(watch.local) < FRAMES_FOR_NIGHT_CHECK:
        return
    night = _is_night(watch)
    days = watch.local // DAY_S
    if not night.any():
        text = f"none of {len(night)} frames was taken at night: is the infra-red flash broken?"
        yield Finding(watch.name, "flash", text, int(days[0]), int(days[-1]), True)
        return
    last = int(np.flatnonzero(night)[-1])
    after = len(night) - last - 1
    if after >= FRAMES_FOR_NIGHT_CHECK and night[: last + 1].mean() >= NIGHT_SHARE_LOST:
        text = (
            f"no night frame since {day_name(int(watch.local[last]))}, {after} by day: is the infra-red flash broken?"
        )
        yield Finding(watch.name, "flash", text, int(days[last]), int(days[-1]), True)


def _is_night(watch: _Watch) -> NDArray[np.bool_]:
    if watch.latitude is None or watch.longitude is None:
        hour = (watch.local % DAY_S) / 3600
        return np.asarray((hour < 5) | (hour >= 21))
    days, place = np.unique(watch.local // DAY_S, return_inverse=True)
    rise, _, set_ = sun_of_day(days, watch.latitude, watch.longitude)
    hour = (watch.at - days[place] * DAY_S) / 3600
    half_an_hour = 0.5  # of dusk and dawn, when cameras still take colour frames
    return np.asarray(((hour - set_[place] - half_an_hour) % 24) < ((rise - set_)[place] % 24 - 2 * half_an_hour))


def _clock(study: Study, place: int, watch: _Watch) -> Iterator[Finding]:
    shown = f"`{_retime_command(study, place)}` shows them and how to move or confirm them"
    for doubt, words, text in (
        (ClockDoubt.BEFORE_2005, "dated before 2005", "was the clock reset?"),
        (ClockDoubt.FUTURE, "dated in the future", "was the clock set wrongly?"),
        (ClockDoubt.BACKWARDS, "dated earlier than frames before them", "was the clock reset?"),
        (ClockDoubt.RESET, "dated as by a clock that was never set", "was the clock reset?"),
    ):
        doubtful = (watch.doubt & doubt_bit(doubt)) != 0
        if doubtful.any():
            yield _clock_finding(watch, doubtful, words, f"{text} {shown}", bool(doubtful[-1]))
    for doubt, words, text in (
        (ClockDoubt.EDITED, "with only the time of an edit", "were they changed by other software?"),
        (ClockDoubt.UNREADABLE_TIME, "with a time that is not understood", "their own time is that of the file"),
    ):
        doubtful = (watch.doubt & doubt_bit(doubt)) != 0
        if doubtful.any():
            yield _clock_finding(watch, doubtful, words, text, False)
    outside = watch.outside & ((watch.doubt & WRONG_CLOCK) == 0)
    given = ((watch.start_at != NO_TIME) & (watch.at < watch.start_at)) | (
        (watch.end_at != NO_TIME) & (watch.at > watch.end_at)
    )
    if (outside & given).any():
        text = "is the period right, or the clock?"
        yield _clock_finding(watch, outside & given, "outside the start and end that were set", text, False)
    for part in _parts(np.flatnonzero(outside & ~given), watch.at):
        mask = np.zeros(len(watch.at), bool)
        mask[part] = True
        if _years_apart(watch, mask):
            text = f"was the clock reset? {shown}; or start and end in the configuration tell"
            yield _clock_finding(watch, mask, "far from this camera's others", text, False)
        else:
            yield _clock_finding(watch, mask, "with the file's time, outside the camera's period", "copied?", False)


def _clock_finding(watch: _Watch, mask: NDArray[np.bool_], words: str, question: str, lasting: bool) -> Finding:
    days = watch.local[mask] // DAY_S
    count = int(mask.sum())
    first, last = int(days[0]), int(days[-1])
    frames = "1 frame" if count == 1 else f"{count} frames"
    when = _period(first, last)
    if years := _years_apart(watch, mask):
        when += f", a leap of {'1 year' if years == 1 else f'{years} years'}"
    return Finding(watch.name, "clock", f"{frames} {words} ({when}): {question}", first, last, lasting)


def _parts(places: NDArray[np.int64], at: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Places in order of time, parted where more than a year lies between two."""
    return np.split(places, np.flatnonzero(np.diff(at[places]) > LEAP_S) + 1) if len(places) else []


def _years_apart(watch: _Watch, mask: NDArray[np.bool_]) -> int:
    """Years from some frames to the camera's believable ones; 0 for less than a year."""
    good, doubted = watch.at[watch.good], watch.at[mask]
    if not len(good):
        return 0
    apart = max(int(good[0] - doubted[0]), int(doubted[-1] - good[-1]))
    return round(apart / (365.25 * DAY_S)) if apart > LEAP_S else 0


def _retime_command(study: Study, place: int) -> str:
    """The command that shows a deployment's times, as a shell takes it."""
    survey = study.survey
    databases = np.unique(survey.frames.database[survey.frames.of(place)])
    deployment = survey.deployments[place]
    whose = ["--deployment", deployment.name] if deployment.named else ["--no-deployment"]
    return shlex.join(["edge-db", "retime", "--db", str(survey.paths[int(databases[0])]), *whose])


def _devices_behind(study: Study) -> Iterator[Finding]:
    """Devices whose own clock was behind that of right cameras."""
    for path, number, beats in zip(
        study.survey.paths, study.survey.device_behind, study.survey.heartbeats, strict=False
    ):
        if number:
            day = int(beats.at[-1]) // DAY_S if len(beats.at) else 0
            kept = ", which nothing keeps right," if (beats.clock_synchronised == 0).any() else ""
            text = (
                f"its clock{kept} was behind when {number} frames came; their cameras' times are taken as right:"
                " `edge-doctor` says what keeps a clock"
            )
            yield Finding(f"device of {path.name}", "clock", text, day, day, False)


def _changed(name: str, change: Change) -> Finding:
    at = day_name(change.day * DAY_S)
    text = {
        "moved": f"the scene changed for good about {at}: was the camera moved or knocked over?",
        "covered": f"almost no contrast by day since about {at}: is the lens covered, wet or blinded?",
    }[change.kind]
    return Finding(name, "scene", text, change.day, change.last_day, change.kind == "covered")


def _disks(study: Study) -> Iterator[Finding]:
    """Disks that will soon be full at the rate of the last two weeks."""
    for path, beats in zip(study.survey.paths, study.survey.heartbeats, strict=True):
        known = beats.free_bytes >= 0
        at, free = beats.at[known], beats.free_bytes[known].astype(float)
        recent = at >= (at[-1] - 14 * DAY_S) if len(at) else known[:0]
        if recent.sum() < 10 or at[-1] - at[recent][0] < DAY_S:
            continue
        slope = float(np.polyfit((at[recent] - at[-1]) / DAY_S, free[recent], 1)[0])
        days = free[-1] / -slope if slope < 0 else float("inf")
        if days < DISK_WARNING_DAYS:
            full = day_name(int(at[-1] + days * DAY_S))
            day = int(at[-1]) // DAY_S
            command = shlex.join(["edge-db", "prune", "--db", str(path), "--free-bytes", str(ROOM_BYTES)])
            text = f"the disk will be full about {full} ({free[-1] / 1e9:.1f} GB left, {-slope / 1e9:.2f} GB a day)"
            yield Finding(f"device of {path.name}", "disk", f"{text}: `{command}` shows what could go", day, day, True)


def _watches(study: Study) -> Iterator[Finding]:
    """Devices that do not see every file as it comes."""
    for path, beats in zip(study.survey.paths, study.survey.heartbeats, strict=True):
        if beats.problem:
            day = int(beats.at[-1]) // DAY_S
            yield Finding(f"device of {path.name}", "watch", beats.problem, day, day, True)


def _files(study: Study) -> Iterator[Finding]:
    frames = study.survey.frames
    bad = int((frames.status == UNREADABLE).sum())
    if bad >= 5 and bad > UNREADABLE_SHARE * len(frames):
        days = [np.datetime64(problem.at[:10], "D").astype(int) for problem in study.survey.problems if problem.at]
        first, last = (int(min(days)), int(max(days))) if days else (0, 0)
        share = 100 * bad / len(frames)
        text = f"{bad} files ({share:.0f} %) are unreadable, last {_period(first, last)}: memory card or transfer?"
        yield Finding("device", "files", text, first, last, True)


def _drifts(study: Study) -> Iterator[Finding]:
    """Clocks that drift: where frames arrive as they are taken, the shortest delay of each day shows it."""
    frames = study.survey.frames
    for place, deployment in enumerate(study.survey.deployments):
        span = frames.of(place)
        if deployment.name not in study.survey.live or span.stop - span.start < FRAMES_FOR_NIGHT_CHECK:
            continue
        own = frames.take(span)
        mine = span.start + np.flatnonzero((own.status == CLASSIFIED) & own.clock_good)
        if len(mine) < FRAMES_FOR_NIGHT_CHECK:
            continue
        sample = mine[:: max(1, len(mine) // 2000)].astype(np.int32)
        with Details(study.survey) as details:
            received = details.fetch("media", "CAST(strftime('%s', received_at) AS INTEGER)", sample)
        delay = np.array([at for at, _ in received], np.int64) - frames.at[sample]
        days = frames.local[sample] // DAY_S
        unique, where = np.unique(days, return_inverse=True)
        if len(unique) < 10:
            continue
        least = np.full(len(unique), np.iinfo(np.int64).max)
        np.minimum.at(least, where, delay)
        ends = max(3, len(unique) // 10)
        before, after = float(np.median(least[:ends])), float(np.median(least[-ends:]))
        if abs(after - before) > DRIFT_S:
            way = "behind" if after > before else "ahead"
            first, last = int(unique[0]), int(unique[-1])
            text = f"the camera's clock went {abs(after - before) / 60:.0f} minutes {way} of the device's"
            yield Finding(deployment.name, "clock", f"{text} {_period(first, last)}", first, last, True)
