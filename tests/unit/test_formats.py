"""Containers by the names that people know."""

from __future__ import annotations

import pytest

from contentplatform.processing.codecs import DEMUXERS
from contentplatform.processing.jobs.formats import format_name


@pytest.mark.parametrize("demuxer", sorted(set(DEMUXERS.values())))
def test_every_container_that_is_opened_has_a_name_for_people(demuxer: str) -> None:
    assert format_name(demuxer)[0].isupper()


def test_of_several_names_the_first_counts() -> None:
    assert format_name("mov,mp4,m4a,3gp") == "MP4"
