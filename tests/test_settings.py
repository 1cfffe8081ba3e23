"""`--set a.b=c`: typed, checked, with what was meant."""

from dataclasses import dataclass, field

import pytest

from worldtune import settings


@dataclass(frozen=True, kw_only=True)
class Inner:
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"optim.lr must be above 0, got {self.lr}")


@dataclass(frozen=True, kw_only=True)
class Outer:
    optim: Inner = field(default_factory=Inner)
    control: dict[str, Inner] = field(default_factory=lambda: {"text": Inner()})
    name: str = "a"
    on: bool = False
    size: int | None = None


def test_sets_nested_fields_with_their_types() -> None:
    config = Outer()
    for assignment in ("optim.lr=3e-4", "control.text.lr=2", "name=7b", "on=true", "size=4", "optim.betas=[0.5, 0.6]"):
        config = settings.replace(config, assignment)
    assert config.optim == Inner(lr=3e-4, betas=(0.5, 0.6))
    assert config.control["text"].lr == 2.0
    assert (config.name, config.on, config.size) == ("7b", True, 4)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optim.lrr=1", "unknown key 'lrr': did you mean 'lr'"),
        ("opitm.lr=1", "unknown key 'opitm': did you mean 'optim'"),
        ("control.txt.lr=1", "unknown key 'txt': did you mean 'text'"),
        ("optim.lr=fast", "--set optim.lr: got 'fast'"),
        ("optim=1", "is a group, set one of its keys: lr, betas"),
        ("name.x=1", "'x' has no fields to set"),
        ("optim.lr", "wanted key=value"),
        ("optim.lr=0", "must be above 0"),
    ],
)
def test_mistakes_are_explained(assignment: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings.replace(Outer(), assignment)


def test_json_round_trip() -> None:
    config = settings.replace(Outer(), "optim.lr=0.5")
    value = settings.to_json(config)
    assert settings.from_json(Inner, value["optim"], "run.json") == config.optim
    with pytest.raises(ValueError, match=r"run.json: unknown key 'lrs': did you mean 'lr'"):
        settings.from_json(Inner, {"lrs": 1}, "run.json")
