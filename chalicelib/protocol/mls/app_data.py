"""Application data in the GroupContext (draft-ietf-mls-extensions §4.6), and how proposals change it."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Self

from chalicelib.errors import DecodeError
from chalicelib.protocol.mls.errors import InvalidProposal
from chalicelib.protocol.mls.extensions import (
    APP_DATA_DICTIONARY,
    Extension,
    Extensions,
    find,
    required_capabilities,
)
from chalicelib.protocol.mls.policy import Policy
from chalicelib.protocol.mls.proposals import AppDataUpdate
from chalicelib.protocol.tls import Reader, decode, opaque, uint16, vector


@dataclasses.dataclass(frozen=True, slots=True)
class ComponentData:
    """What one component keeps in the GroupContext."""

    component_id: int
    data: bytes

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read the struct."""
        return cls(reader.uint16(), reader.opaque())

    def encode(self) -> bytes:
        """Return the struct's encoding."""
        return uint16(self.component_id) + opaque(self.data)


def read_dictionary(reader: Reader) -> tuple[ComponentData, ...]:
    """Read an AppDataDictionary: components in increasing order, each once."""
    entries = reader.vector(ComponentData.read)
    if any(a.component_id >= b.component_id for a, b in itertools.pairwise(entries)):
        raise DecodeError("the components of an application data dictionary are not in order")
    return entries


def check_dictionary(extensions: Extensions) -> None:
    """Check that application data in a GroupContext, if there is any, is a dictionary."""
    stored = find(extensions, APP_DATA_DICTIONARY)
    if stored is not None:
        decode(read_dictionary, stored)


def check_dictionary_unchanged(old: Extensions, new: Extensions) -> None:
    """[ext-4.6-2] Where AppDataUpdate is required, GroupContextExtensions leaves the dictionary as it was."""
    required = AppDataUpdate.proposal_type in required_capabilities(old).proposal_types
    if required and find(old, APP_DATA_DICTIONARY) != find(new, APP_DATA_DICTIONARY):
        raise InvalidProposal("ext-4.6-2", "application data is changed by other means than its own proposal")


def update_dictionary(extensions: Extensions, updates: Sequence[AppDataUpdate], policy: Policy) -> Extensions:
    """Apply AppDataUpdates, a component at a time and in the order of the commit."""
    if not updates:
        return extensions
    stored = find(extensions, APP_DATA_DICTIONARY)
    entries = {} if stored is None else {entry.component_id: entry for entry in decode(read_dictionary, stored)}
    by_component: dict[int, list[AppDataUpdate]] = {}
    for update in updates:
        by_component.setdefault(update.component_id, []).append(update)
    for component_id, changes in by_component.items():
        old = entries.get(component_id)
        if changes[0].update is None:
            # [ext-4.6-1] Removing the state of a component that has none is invalid.
            if old is None:
                raise InvalidProposal("ext-4.6-1", "a component without data is to be removed")
            del entries[component_id]
            continue
        data = policy.update_app_data(
            component_id,
            None if old is None else old.data,
            [change.update for change in changes if change.update is not None],
        )
        entries[component_id] = ComponentData(component_id, data)
    dictionary = Extension(APP_DATA_DICTIONARY, vector([entries[key] for key in sorted(entries)]))
    if stored is None:
        return (*extensions, dictionary)
    return tuple(
        dictionary if extension.extension_type == APP_DATA_DICTIONARY else extension for extension in extensions
    )
