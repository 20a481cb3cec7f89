"""The order of work of a build: which tasks there are, which can be done now, how long is left. Source: own."""

import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from . import person, plan, stored
from .plan import Group, Person, Settings

SECONDS = {
    "general": 480.0,
    "reel": 10.0,
    "group": 90.0,
    "person": 30.0,
}  # first guess; measured as it goes
ORDER = ("general", "person", "group", "reel")  # what is ready and stands first here is done first


@dataclass(frozen=True)
class Task:
    """A piece of work for one process: kind (of ``ORDER``), and whom it is about."""

    kind: str
    group: Group | None = None
    person: Person | None = None


@dataclass(frozen=True)
class Place:
    """Where a build works: settings, its own folder, and the folder of the networks that all sets share."""

    settings: Settings
    work: Path
    cache: Path

    def reel(self, one: Person) -> Path:
        """File of a person's reel."""
        return self.work / "reels" / f"{one.name}.npz"

    def group(self, group: Group) -> Path:
        """Folder of a group's networks."""
        return self.work / "groups" / f"g{group.number:04d}"


class Schedule:
    """Which tasks are ready, running and left; holds names of people, never their pictures."""

    def __init__(self, place: Place) -> None:
        """Plan what is not done yet."""
        self.place = place
        self.ready: dict[str, deque[Task]] = {kind: deque() for kind in ORDER}
        self.waiting: list[Task] = []  # for the networks that all share
        self.left = dict.fromkeys(ORDER, 0)
        self.spent = {kind: [0, 0.0] for kind in ORDER}
        self.reels: dict[int, int] = {}  # reels that a group still waits for
        self.people: dict[int, int] = {}  # people whom a group's networks are still needed for
        self.general_done = True
        for group in plan.groups(place.settings):
            self._plan_group(group)
        if not self.general_done:
            self._add(Task("general"))

    def _plan_group(self, group: Group) -> None:
        todo = [p for p in group.people if not person.record_path(self.place.work, p).exists()]
        if not todo:
            return
        methods = set(plan.methods_of(self.place.settings, group.role))
        if methods & {*plan.NEEDS_GROUP, *plan.NEEDS_GENERAL}:
            self.general_done = False
        self.people[group.number] = len(todo)
        self.left["person"] += len(todo)
        known = stored.group_file(self.place.group(group)).exists()
        if known or not methods & set(plan.NEEDS_GROUP):
            self._release(group)
            return
        self.left["group"] += 1
        missing = [p for p in group.people if not self.place.reel(p).exists()]
        self.reels[group.number] = len(missing)
        if not missing:
            self._offer(Task("group", group))
        for one in missing:
            self._add(Task("reel", group, one))

    def _add(self, task: Task) -> None:
        self.ready[task.kind].append(task)
        self.left[task.kind] += 1

    def _release(self, group: Group) -> None:
        """A group's networks are there: its people can be made."""
        for one in group.people:
            if not person.record_path(self.place.work, one).exists():
                self._offer(Task("person", group, one))

    def _offer(self, task: Task) -> None:
        """Make a task ready, or let it wait for the networks that all share."""
        (self.ready[task.kind] if self.general_done else self.waiting).append(task)

    def next(self) -> Task | None:
        """Take the next task that can be done now."""
        for kind in ORDER:
            if self.ready[kind]:
                return self.ready[kind].popleft()
        return None

    def finished(self, task: Task, seconds: float) -> None:
        """Note a task as done and free what waited for it."""
        self.left[task.kind] -= 1
        count, total = self.spent[task.kind]
        self.spent[task.kind] = [count + 1, total + seconds]
        if task.kind == "general":
            self.general_done = True
            for waited in self.waiting:
                self._offer(waited)
            self.waiting.clear()
        elif task.kind == "reel":
            self.reels[task.group.number] -= 1
            if not self.reels[task.group.number]:
                self._offer(Task("group", task.group))
        elif task.kind == "group":
            for one in task.group.people:
                self.place.reel(one).unlink(missing_ok=True)
            self._release(task.group)
        else:
            self.people[task.group.number] -= 1
            if not self.people[task.group.number]:
                shutil.rmtree(self.place.group(task.group), ignore_errors=True)

    def seconds_left(self, workers: int) -> float:
        """Guess from the mean time of each kind so far."""
        total = 0.0
        for kind, n in self.left.items():
            count, spent = self.spent[kind]
            total += n * (spent / count if count else SECONDS[kind])
        return total / workers
