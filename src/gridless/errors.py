"""Errors that name what was given, what was expected and what to do."""


class GridlessError(Exception):
    """Base of the errors that only this package raises."""


class UnsupportedError(GridlessError, RuntimeError):
    """A named implementation cannot run these inputs; the message lists every reason."""


class ReadError(GridlessError, ValueError):
    """A file is damaged or is not what it claims to be; carries its path and, where known, the byte or record."""

    def __init__(self, path: object, problem: str, where: str | None = None) -> None:
        self.path = str(path)
        self.problem = problem
        self.where = where
        super().__init__(f"{self.path}: {problem}" + (f" (at {where})" if where else ""))

    def __reduce__(self) -> tuple[type["ReadError"], tuple[str, str, str | None]]:
        # Exceptions cross process borders by pickling; the default would pass the message as the path.
        return type(self), (self.path, self.problem, self.where)


class RecipeError(GridlessError, ValueError):
    """A recipe or a setting in it is wrong; the message names the key and the nearest known one."""
