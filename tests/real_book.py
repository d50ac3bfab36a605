"""The real chapters on the shipped model, in a folder of their own."""

from pathlib import Path

from click.testing import CliRunner, Result

from book.cli import cli


class RealBook:
    """A store and a book in one folder."""

    def __init__(self, folder: Path) -> None:
        self.store, self.out = folder / "store", folder / "html"

    def build(self, *arguments: str) -> Result:
        """Run `headbook build` with further arguments; it must succeed."""
        places = ("--store", str(self.store), "--out", str(self.out))
        result = CliRunner().invoke(cli, ["build", *places, *arguments])
        assert result.exit_code == 0, result.output
        return result
