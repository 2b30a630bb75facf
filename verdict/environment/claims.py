"""What the command line says of the environment: what a release changes, and what cannot be read on the machine."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Callable, Collection, Iterator, Mapping

from evidence.run_file import Run
from verdict.environment.items import BENCHMARK, ITEMS, MACHINE, OTHERS, READ
from verdict.environment.packages import as_installed, compare_packages, package_of, packages_in, with_packages
from verdict.environment.stated import (
    DIFFERS,
    MATCH,
    Answer,
    compare_image,
    compare_machine,
    compare_model,
    compare_network_texts,
    compare_system,
    compare_version,
    is_demand,
    is_exact,
    plain,
)

_LISTS = ("framework", "dependencies")
_STAYS = "the machine has to be the one that the vendor's document states; what a release changes is its software"
_RECIPE = "it belongs to the benchmark, which no release changes"
_IS_READ = "it is read on the machine, and cannot be stated"


@dataclass(frozen=True)
class Claims:
    """`--under-test` and `--state`, texts by item.

    An item under test is held against its own text instead of the document's. A stated one counts where what was found
    does not decide.

    >>> Claims({"driver": "4.0.31"}).wanted("driver", "4.0.25")
    '4.0.31'
    """

    under_test: Mapping[str, str] = field(default_factory=dict)
    stated: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> Claims:
        """Return the claims that a run was made with, without those that no command line could have made."""
        under_test = {item: text for item, text in run.under_test.items() if item not in (*MACHINE, *BENCHMARK)}
        return cls(under_test, {item: text for item, text in run.stated.items() if item not in READ})

    def asked(self, stated: Mapping[str, str]) -> dict[str, str]:
        """Return what has to be found by item: of `stated`, and of what is under test beside it."""
        items = [*stated, *(item for item in self.under_test if item not in stated)]
        order = [item for item in ITEMS if item in items] + [item for item in items if item not in ITEMS]
        return {item: self.wanted(item, stated.get(item, "")) for item in order}

    def over(self, others: Claims) -> Claims:
        """Return these claims, and those of `others` on other items."""
        return Claims({**others.under_test, **self.under_test}, {**others.stated, **self.stated})

    def wanted(self, item: str, document: str) -> str:
        """Return what has to be found of an item: what is under test, else what the document states.

        A package under test is so in every item that names it.
        """
        if item in self.under_test:
            return self.under_test[item]
        packages = self._packages()
        if item in _LISTS:
            return with_packages(document, packages)
        return packages.get(item, document) if document else document

    def problems(self, stated: Collection[str]) -> Iterator[str]:
        """Yield why the claims cannot be; `stated` are the items that the selected cells' documents state."""
        known = (*ITEMS, *OTHERS, *(item for item in stated if item not in ITEMS))
        for flag, claims, refused in (
            ("--under-test", self.under_test, {**dict.fromkeys(MACHINE, _STAYS), **dict.fromkeys(BENCHMARK, _RECIPE)}),
            ("--state", self.stated, dict.fromkeys(READ, _IS_READ)),
        ):
            for item, text in claims.items():
                if item not in known:
                    near = difflib.get_close_matches(item, known, n=1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    yield f"{flag}: found the item {item!r}, expected one of {', '.join(known)}{hint}"
                elif item in refused:
                    yield f"{flag} {item}={text}: {refused[item]}"
                elif not is_exact(text) if flag == "--under-test" else not is_demand(text):
                    yield f"{flag} {item}={text}: the value names nothing; expected what was installed, as in 4.0.31"
        yield from self._clashes()

    def _clashes(self) -> Iterator[str]:
        for item in self.under_test.keys() & self.stated.keys():
            tested, said = self.under_test[item], self.stated[item]
            if plain(tested).casefold() != plain(said).casefold():
                yield f"{item}: found --under-test {tested} and --state {said}, expected the same of both; correct one"
        named: dict[str, tuple[str, str]] = {}
        for item, package, version in self._named():
            other, before = named.setdefault(package, (item, version))
            if before != version:
                yield (
                    f"--under-test {other} and {item}: found {package} {before} and {package} {version}, expected one "
                    "version; correct one"
                )

    def _packages(self) -> dict[str, str]:
        """Return the versions under test by package."""
        return {package: version for _, package, version in self._named()}

    def _named(self) -> Iterator[tuple[str, str, str]]:
        """Yield (item, package, version) of each package under test."""
        for item, text in self.under_test.items():
            if item not in _LISTS:
                yield item, item, text
                continue
            for name, version in packages_in(text):
                if version and name != "python":  # of a wheel, which is for several of its releases
                    yield item, package_of(name), version


NO_CLAIMS = Claims()


def compare_stated(item: str, wanted: str, said: str, read: Answer) -> Answer:
    """Hold what is stated by who runs the gate against what is wanted of an item, and against what was read.

    `read` is how far what was read agrees with the statement.
    """
    if read.verdict == DIFFERS:
        return Answer(DIFFERS, "what was read is not what is stated")
    same = plain(said).casefold() == plain(wanted).casefold()
    return Answer(MATCH) if same or _agrees(item, wanted, said) else Answer(DIFFERS, "what is stated is another")


def _agrees(item: str, wanted: str, said: str) -> bool:
    """Whether a statement is what is wanted in other words."""
    if item == "card_count":
        counts = [text.split()[0] for text in (wanted, said)]
        return all(count.isdigit() for count in counts) and int(counts[1]) >= int(counts[0])
    if item in _LISTS:
        return compare_packages(wanted, as_installed(said))[1].verdict == MATCH
    compare: Callable[[str, str], Answer] = {
        "machine": compare_machine,
        "card": compare_model,
        "image": compare_image,
        "network": compare_network_texts,
        "os": lambda wanted, said: compare_system(wanted, said, said.split()),
    }.get(item, compare_version)
    return compare(wanted, said).verdict == MATCH
