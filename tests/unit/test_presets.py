"""The presets as platform-wide policy: what they promise, and when a recipe counts as another one."""

from __future__ import annotations

import re

import pytest

from contentplatform.media import MediaKind
from contentplatform.processing import presets


def test_the_image_renditions_are_those_of_the_platform() -> None:
    assert [
        (preset.name, preset.folder, preset.width, preset.height, preset.format, preset.quality, preset.extension)
        for preset in presets.IMAGE_PRESETS
    ] == [
        ("thumbnail", "processed/thumbnails", 150, 150, "jpeg", 85, "jpg"),
        ("medium", "processed/medium", 800, 600, "jpeg", 85, "jpg"),
        ("webp", "processed/webp", 16_383, 16_383, "webp", 85, "webp"),
    ]
    assert presets.WEBP.pixels == 50_000_000
    assert presets.ImageLimits().pixels == 300_000_000


@pytest.mark.parametrize("kind", list(MediaKind))
def test_a_recipe_is_short_and_stable(kind: MediaKind) -> None:
    assert re.fullmatch("[0-9a-f]{12}", presets.recipe(kind))
    assert presets.recipe(kind) == presets.recipe(kind)


def test_each_kind_has_a_recipe_of_its_own() -> None:
    assert len({presets.recipe(kind) for kind in MediaKind}) == len(MediaKind)


def test_a_changed_preset_is_another_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = presets.recipe(MediaKind.IMAGE), presets.recipe(MediaKind.GENERIC)
    monkeypatch.setattr(presets, "IMAGE_PRESETS", presets.IMAGE_PRESETS[:2])
    after = presets.recipe(MediaKind.IMAGE), presets.recipe(MediaKind.GENERIC)
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_each_allowed_loader_opens_one_type() -> None:
    types = [loader.content_type for loader in presets.ALLOWED_LOADERS]
    assert len(types) == len(set(types))
    assert not {"image/svg+xml", "application/pdf"} & set(types)
