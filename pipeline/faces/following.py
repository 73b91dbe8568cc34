"""Following one person's face from frame to frame: by place, and by embedding where place does not decide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.clip import F32, U8, Reason
from pipeline.faces.landmark_model import FaceDetection, box_area, iou
from pipeline.faces.people import Embedder, Person, vectors
from pipeline.faces.upright import UprightModel

Floats = npt.NDArray[np.floating[Any]]

_SPEED = 4.0
"""How many of its own sizes a lost face may be away from where it was, for each second since."""
_LOOK = 0.4
"""Seconds between two looks at the whole frame while the face is followed."""
_NEAR = 1.6
"""A rival within this many sizes of the face is looked for in every frame."""
_RECENT = 1.0
"""Seconds for which a rival's last place counts."""
_KEPT = 0.25
"""By how much less alike a face in the person's place may be."""
_KEPT_FOR = 0.2
"""Seconds for which a place is the person's; at few frames a second, until the next frame."""
_ELSEWHERE = 0.2
"""By how much more alike than a rival a face in the rival's place must be."""
_OVER = 0.1
"""Share of the smaller face's box that lies under another's from which on one of them is in front."""
_WORSE = 0.1
"""By how much the face behind is less alike to its person than the face in front is to its own."""
_MOST_RIVALS = 16


@dataclass(frozen=True)
class Candidate:
    """A face in a frame, its unit vector, and its cosines to the person followed and the nearest rival."""

    face: FaceDetection
    vector: F32
    own: float
    rival: float


@dataclass
class Follower:
    """Keeps hold of one person's face.

    rank: which face to follow; faces are numbered by size in the first frame that shows one, then as they
    come. patience: seconds for which a face is looked for where it was. embedder: None follows by place
    alone.
    """

    model: UprightModel
    embedder: Embedder | None
    rank: int
    patience: float
    most_faces: int = 0
    own: Person = field(default_factory=Person)
    rivals: list[Person] = field(default_factory=list)
    looked: float = -np.inf
    tried_turns: float = -np.inf
    cut: bool = False
    """Another shot has begun since the face was last seen."""
    before: float = -np.inf
    """Time of the frame before."""

    def step(self, frame: U8, time: float, new_shot: bool) -> tuple[FaceDetection | None, Reason]:
        """The face in this frame, or why there is none; new_shot: the picture differs from the one before."""
        self.cut = self.cut or new_shot
        face, reason = self._start(frame, time) if self.own.last is None else self._follow(frame, time)
        if face is not None:
            self.own.seen(face, time)
            self.cut = False
        self.before = time
        return face, reason

    def back(self, frame: U8, later: FaceDetection, away: float) -> FaceDetection | None:
        """The face in a frame `away` seconds before it was found at `later`; None where it is not there."""
        near = [face for face in self.model.detect(frame, later.hint) if _can_be(face, later, away)]
        if not near or not self.own.exemplars:
            return near[0] if near else None
        (candidate,) = self._candidates(frame, near[:1])
        clear = candidate.own >= self._threshold and candidate.own > candidate.rival
        return candidate.face if clear else None

    @property
    def _threshold(self) -> float:
        return -1.0 if self.embedder is None else self.embedder.threshold

    def _candidates(self, frame: U8, faces: list[FaceDetection]) -> list[Candidate]:
        if self.embedder is None or not faces:
            return [Candidate(face, np.zeros(0, np.float32), 1.0, -1.0) for face in faces]
        return [
            Candidate(
                face,
                vector,
                self.own.alike(vector),
                max((r.alike(vector) for r in self.rivals), default=-1.0),
            )
            for face, vector in zip(faces, vectors(self.embedder, frame, faces))
        ]

    def _start(self, frame: U8, time: float) -> tuple[FaceDetection | None, Reason]:
        """The face of the rank asked for, once as many people have been seen."""
        turns = time - self.tried_turns >= _LOOK
        self.tried_turns = time if turns else self.tried_turns
        faces = self.model.detect(frame, turns=turns)
        self.looked = time
        self.most_faces = max(self.most_faces, len(faces))
        people = self._people(frame, faces, time)
        chosen = next((k for k, number in enumerate(people) if number == self.rank), None)
        if chosen is None:
            return None, Reason.OTHER_PERSON if faces else self._nothing
        self.own = self.rivals.pop(self.rank)
        return faces[chosen], Reason.EDITED

    def _people(self, frame: U8, faces: list[FaceDetection], time: float) -> list[int]:
        """The number of the person that each face is, new ones included; each person once in a frame."""
        numbers: list[int] = []
        found = self._candidates(frame, faces)
        for candidate in found:
            number = self._known(candidate, time, numbers)
            if number is None:
                number = len(self.rivals)
                self.rivals.append(Person())
            self._note(self.rivals[number], candidate, time)
            numbers.append(number)
        return numbers

    def _known(self, candidate: Candidate, time: float, taken: list[int]) -> int | None:
        """The rival that a face is: the one in its place a moment ago, else the most alike one."""
        best, most = None, 0.0
        for number, rival in enumerate(self.rivals):
            if number in taken or rival.last is None:
                continue
            there = time - rival.last_time <= _RECENT and iou(rival.last.box, candidate.face.box) > 0.3
            alike = rival.alike(candidate.vector) if len(candidate.vector) else 0.0
            score = alike + there
            if (there or (len(candidate.vector) and alike >= self._threshold)) and score > most:
                best, most = number, score
        return best

    def _note(self, person: Person, candidate: Candidate, time: float) -> None:
        person.seen(candidate.face, time)
        if len(candidate.vector):
            person.clear = person.alike(candidate.vector) if person.exemplars else 1.0
            person.learn(candidate.vector)

    def _follow(self, frame: U8, time: float) -> tuple[FaceDetection | None, Reason]:
        last = self.own.last
        if last is None:
            return None, Reason.NO_FACE
        away = time - self.own.last_time
        near: list[FaceDetection] = []
        if away <= self.patience:
            # while the face was just seen, look where it was; that finds it covered, too
            near = [f for f in self.model.detect(frame, last.hint) if _can_be(f, last, away)]
        candidates = self._candidates(frame, near)
        if self._must_look(last, candidates, time):
            candidates += self._look(frame, near, time)
        chosen, reason = self._choose(candidates, last, away)
        if chosen is None:
            return None, reason
        if self._is_behind(chosen, last, time):
            return None, Reason.COVERED
        if len(chosen.vector) and chosen.own >= self._threshold and chosen.own > chosen.rival:
            self.own.learn(chosen.vector)
        return chosen.face, Reason.EDITED

    def _must_look(self, last: FaceDetection, near: list[Candidate], time: float) -> bool:
        """Whether the whole frame is to be searched."""
        if not near or self.cut or time - self.looked >= _LOOK:
            return True
        if self.embedder is not None and near[0].own < max(self._threshold, near[0].rival):
            return True
        return self._has_near(last, time)

    def _has_near(self, last: FaceDetection, time: float) -> bool:
        """Whether another person was near the face a moment ago."""
        return any(self._is_recent(rival, time) and _is_near(rival.last, last) for rival in self.rivals)

    @staticmethod
    def _is_recent(rival: Person, time: float) -> bool:
        return time - rival.last_time <= _RECENT

    def _look(self, frame: U8, near: list[FaceDetection], time: float) -> list[Candidate]:
        """The other faces in the frame; those that are a rival's are noted."""
        self.looked = time
        turns = not near and time - self.tried_turns >= _LOOK
        self.tried_turns = time if turns else self.tried_turns
        faces = self.model.detect(frame, turns=turns)
        self.most_faces = max(self.most_faces, len(faces))
        return self._candidates(frame, [f for f in faces if all(iou(f.box, g.box) < 0.5 for g in near)])

    def _choose(
        self, candidates: list[Candidate], last: FaceDetection, away: float
    ) -> tuple[Candidate | None, Reason]:
        """The candidate that is the person, and the others noted as rivals."""
        time = self.own.last_time + away
        able = [c for c in candidates if self._able(c, last, away)]
        best = max(able, key=lambda c: self._score(c, last, away), default=None)
        alone = len(candidates) == 1 and not any(self._is_recent(r, time) for r in self.rivals)
        if best is not None and not (alone or self._is_own(best, last, away)):
            best = None
        taken: list[int] = []
        for other in candidates:
            if other is best or (best is not None and iou(other.face.box, best.face.box) > 0.3):
                continue
            number = self._known(other, time, taken)
            if number is None and len(self.rivals) < _MOST_RIVALS and self._is_other(other, best is not None):
                number = len(self.rivals)
                self.rivals.append(Person())
            if number is not None:
                taken.append(number)
                self._note(self.rivals[number], other, time)
        if best is not None:
            return best, Reason.EDITED
        if candidates:
            return None, Reason.OTHER_PERSON
        return None, self._nothing

    @property
    def _nothing(self) -> Reason:
        return Reason.ODD_LANDMARKS if self.model.odd else Reason.NO_FACE

    def _able(self, candidate: Candidate, last: FaceDetection, away: float) -> bool:
        """Whether a face can be the person: by place within a shot, by embedding after a cut."""
        if not self.cut:
            return _can_be(candidate.face, last, away)
        kept = away <= self.patience and iou(candidate.face.box, last.box) > 0.3
        least = self._threshold - (_KEPT if kept else 0.0)
        return candidate.own >= least and candidate.own > candidate.rival

    def _score(self, candidate: Candidate, last: FaceDetection, away: float) -> float:
        there = 0.0 if self.cut else iou(candidate.face.box, last.box) / (1 + away)
        gap = 1e-3 * float(np.linalg.norm(_middle(candidate.face) - _middle(last))) / max(_size(last), 1.0)
        return candidate.own - max(candidate.rival, -0.5) + 0.5 * there - gap

    def _is_own(self, candidate: Candidate, last: FaceDetection, away: float) -> bool:
        """Whether the best candidate is the person, where others have been seen beside it."""
        if self.embedder is None or not len(candidate.vector):
            return True
        just_seen = away <= _KEPT_FOR or self.own.last_time >= self.before
        kept = not self.cut and just_seen and iou(candidate.face.box, last.box) > 0.3
        if kept and not self._has_near(last, self.own.last_time + away):
            return True  # nobody else can be in this place; turned faces are unlike
        least = self._threshold - (_KEPT if kept else 0.0)
        margin = -0.1 if kept else 0.0
        if not kept and self._is_in_rivals_place(candidate, self.own.last_time + away):
            margin = _ELSEWHERE
        return candidate.own >= least and candidate.own > candidate.rival + margin

    def _is_in_rivals_place(self, candidate: Candidate, time: float) -> bool:
        """Whether another person was where the face is a moment ago."""
        return any(
            rival.last is not None
            and self._is_recent(rival, time)
            and iou(rival.last.box, candidate.face.box) > 0.3
            for rival in self.rivals
        )

    def _is_other(self, candidate: Candidate, beside: bool) -> bool:
        """Whether a face that is no rival known is another person: seen beside the person, or unlike."""
        return beside or candidate.own < self._threshold

    def _is_behind(self, chosen: Candidate, last: FaceDetection, time: float) -> bool:
        """Whether a rival's face lies over the chosen one: both are there, and the rival is seen better."""
        for rival in self.rivals:
            if rival.last is None or rival.last_time != time or not len(chosen.vector):
                continue
            if _overlap(chosen.face, rival.last) <= _OVER:
                continue
            if chosen.own < rival.clear - _WORSE:
                return True
        return False


def _can_be(face: FaceDetection, last: FaceDetection, away: float) -> bool:
    """Whether a face can be the one lost `away` seconds ago: the longer ago, the farther it may be."""
    width, before = _size(face), _size(last)
    ratio = 1.5 + away
    distance = float(np.linalg.norm(_middle(face) - _middle(last)))
    return distance <= (0.5 + _SPEED * away) * before and 1 / ratio <= width / before <= ratio


def _is_near(face: FaceDetection | None, last: FaceDetection) -> bool:
    if face is None:
        return False
    reach = _NEAR * max(_size(face), _size(last))
    return float(np.linalg.norm(_middle(face) - _middle(last))) <= reach


def _overlap(a: FaceDetection, b: FaceDetection) -> float:
    """Share of the smaller box that the two have in common."""
    corner = np.concatenate([np.maximum(a.box[:2], b.box[:2]), np.minimum(a.box[2:], b.box[2:])])
    return box_area(corner) / max(min(box_area(a.box), box_area(b.box)), 1e-6)


def _middle(face: FaceDetection) -> F32:
    middle: F32 = face.landmarks68.mean(axis=0)
    return middle


def _size(face: FaceDetection) -> float:
    return float((face.box[2:] - face.box[:2]).max())
