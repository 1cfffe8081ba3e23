"""`worldtune list`: what is here."""

from rich.console import Console
from rich.table import Table

from worldtune.contract import rooms
from worldtune.stages.base import shipped
from worldtune.tasks import TASKS


def overview(console: Console) -> None:
    """Print tasks with the controls they are made of, bases, layouts and rooms."""
    built = rooms.names("controls")
    table = Table("task", "controls", "what it adds", title="Tasks")
    for name, task in TASKS.items():
        missing = [control for control in task.controls if control not in built]
        note = f" [dim](not yet: {', '.join(missing)})[/]" if missing else ""
        table.add_row(name, " + ".join(task.controls), task.summary + note)
    console.print(table)
    for title, names in (
        ("bases", shipped()),
        ("families", rooms.names("families")),
        ("controls", built),
        ("codecs", rooms.names("codecs")),
        ("layouts", rooms.names("layouts")),
    ):
        console.print(f"[bold]{title}[/]: {', '.join(names) or 'none'}")
