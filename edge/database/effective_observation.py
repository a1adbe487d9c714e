"""Which observation of a frame counts: the one rule behind the view `detections`, the events and the reports.

What people saw counts before what models say. Of a frame's acts (what one person wrote on it in one go) that were not
withdrawn, the newest counts, whole. Without one, the decision of the pinned model and configuration counts, in its
highest revision; where these did not classify the frame, the newest decision of another model of ours; else the newest
import.

Counts are those of the lines of an act, or of the decision's own bounding boxes; a decision without bounding boxes
borrows those of the newest import.

Reports read a million frames in columns and apply the same rule there (`edge.report.read.effective_labels`); a test
holds both equal on generated databases.
"""

# The newest act on the frame `{media}` that is in force. An undo is a row that `withdraws` a row of an act; a redo
# withdraws the undo.
_ACT = """(
    SELECT h.act FROM observation h
    WHERE h.media = {media} AND h.method = 'human' AND h.withdraws IS NULL AND NOT EXISTS (
        SELECT 1 FROM observation undone JOIN observation undo ON undo.withdraws = undone.id
        WHERE undone.media = h.media AND undone.act = h.act
            AND NOT EXISTS (SELECT 1 FROM observation redo WHERE redo.withdraws = undo.id))
    ORDER BY h.id DESC LIMIT 1
)"""
_MACHINE = """(
    SELECT p.id FROM observation p
    WHERE p.media = {media} AND p.method = 'machine' AND p.subject = 0
    ORDER BY (p.model, p.configuration) IS (SELECT model, configuration FROM pin ORDER BY id DESC LIMIT 1) DESC,
        p.configuration IS NOT NULL DESC, p.id DESC
    LIMIT 1
)"""


def newest_import(media: str) -> str:
    """SQL for (model, revision, classified_by) of the newest import that found bounding boxes on a frame.

    An import of the same model that found others since, or none, has a higher revision.
    """
    return f"""(
        SELECT i.model, i.revision, i.classified_by FROM observation i
        WHERE i.media = {media} AND i.method = 'machine' AND i.subject > 0 AND i.configuration IS NULL AND NOT EXISTS (
            SELECT 1 FROM observation later WHERE later.media = i.media AND later.method = 'machine'
                AND later.configuration IS NULL AND later.model IS i.model AND later.revision > i.revision)
        ORDER BY i.id DESC LIMIT 1
    )"""


def decision_of(media: str) -> str:
    """SQL for (model, configuration, revision) of the model's decision that counts on a frame."""
    return _MACHINE.format(media=media).replace("SELECT p.id", "SELECT p.model, p.configuration, p.revision", 1)


def shows_people(media: str) -> str:
    """SQL for whether a frame shows a person or a vehicle: by those who reviewed it, else by any model or bounding box.

    One model that saw a person is enough, whichever counts: what is shown by mistake cannot be taken back.
    """
    act = _ACT.format(media=media)
    return f"""EXISTS (
        SELECT 1 FROM observation s WHERE s.media = {media} AND s.kind IN ('human', 'vehicle')
        AND iif({act} IS NULL, s.method = 'machine', s.method = 'human' AND s.withdraws IS NULL AND s.act = {act}))"""


_OF_DECISION = "b.kind = iif(o.kind IN ('human', 'vehicle'), o.kind, 'animal')"
_OWN_BOXES = f"""(
    SELECT count(*) FROM observation b
    WHERE b.media = o.media AND b.method = 'machine' AND b.subject > 0 AND b.model IS o.model
        AND b.configuration IS o.configuration AND b.revision = o.revision AND {_OF_DECISION}
)"""
_IMPORTED_BOXES = f"""(
    SELECT count(*) FROM observation b
    WHERE b.media = o.media AND b.method = 'machine' AND b.subject > 0 AND b.configuration IS NULL AND {_OF_DECISION}
        AND (b.model, b.revision, b.classified_by) IS {newest_import("o.media")}
)"""

VIEWS = f"""
-- The rows that count: the lines of a person's act, or the decision of a model; `number` is how many are seen.
CREATE VIEW effective_observation AS
SELECT o.*, m.captured_at, m.deployment, m.clock_doubt,
       iif(o.method = 'human', coalesce(o.count, iif(o.box_x IS NULL, NULL, 1)),
           coalesce(nullif({_OWN_BOXES}, 0), nullif({_IMPORTED_BOXES}, 0), o.count)) AS number
FROM media m JOIN observation o ON o.media = m.id
WHERE CASE WHEN o.method = 'human' THEN o.withdraws IS NULL AND o.act = {_ACT.format(media="m.id")}
           ELSE o.subject = 0 AND o.id = {_MACHINE.format(media="m.id")} AND {_ACT.format(media="m.id")} IS NULL END;
-- One line per frame: the first line of what counts.
CREATE VIEW detections AS
SELECT m.id AS media, m.captured_at, m.deployment, m.path, o.kind, o.taxon, o.rank, o.common_name, o.count,
       round(o.confidence, 4) AS confidence, o.reason, o.method, o.classified_by, m.clock_doubt,
       m.status, m.reason AS file_reason, o.id AS observation
FROM media m
LEFT JOIN observation o ON o.id = coalesce(
    (SELECT l.id FROM observation l
     WHERE l.media = m.id AND l.withdraws IS NULL AND l.act = {_ACT.format(media="m.id")} ORDER BY l.line LIMIT 1),
    {_MACHINE.format(media="m.id")}
);
CREATE VIEW species_summary AS
SELECT taxon, rank, common_name, count(*) AS frames, min(captured_at) AS first_seen, max(captured_at) AS last_seen,
       round(avg(confidence), 3) AS mean_confidence
FROM detections WHERE kind = 'animal' GROUP BY taxon, rank ORDER BY frames DESC;
"""
