"""Every setting is described, and the descriptions are read from where they are written."""

from dataclasses import dataclass, fields

import pytest

from diffgeo.config import documentation, schemas
from diffgeo.config.documentation import default_of, documented, headline, kind_of
from diffgeo.studies import studies

SCHEMAS = [
    value
    for value in vars(schemas).values()
    if getattr(value, "__module__", "") == schemas.__name__ and isinstance(value, type)
]
SCHEMAS += [study.settings for study in studies().values()]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: s.__name__)
def test_every_setting_is_described_and_nothing_else_is(schema):
    assert list(documented(schema)) == [field.name for field in fields(schema)]
    assert all(text.strip() for text in documented(schema).values())
    assert headline(schema)
    own = documentation._entries(schema.__doc__.replace("\n    ", "\n"))
    assert set(own) <= {field.name for field in fields(schema)}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: s.__name__)
def test_every_setting_has_a_kind_and_a_default(schema):
    for field in fields(schema):
        assert kind_of(schema, field.name)
        default_of(schema, field.name)


def test_descriptions_are_read_whole_and_those_of_a_subclass_come_first():
    @dataclass
    class Base:
        """One line.

        More words: not an entry.

        Attributes:
            first: goes on
                in the next line: with a colon.
            second: short.

        Returns:
            third: belongs to another section.
        """

        first: int = 1
        second: list[float] | None = None

    @dataclass
    class Derived(Base):
        """Derived, in
        two lines.

        Attributes:
            second: other words.
        """

        third: str = "x"

    assert documented(Base) == {"first": "goes on in the next line: with a colon.", "second": "short."}
    assert documented(Derived) == {"first": "goes on in the next line: with a colon.", "second": "other words."}
    assert headline(Derived) == "Derived, in two lines."
    assert kind_of(schemas.SvdConfig, "share") == "float or null"
    assert kind_of(schemas.ScheduleConfig, "edit") == "list of float"
    assert default_of(schemas.ScheduleConfig, "edit") == [1.0, 0.75, 0.5, 0.25]
    assert default_of(schemas.SvdConfig, "solver") == "???"
