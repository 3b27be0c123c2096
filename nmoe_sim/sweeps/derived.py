"""Derived columns: arithmetic over the columns of a row, and nothing else."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from nmoe_sim.errors import InputError
from nmoe_sim.scenario.messages import did_you_mean, listed

MAX_CHARACTERS = 500
"""Longest expression."""

_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
_FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "abs": abs,
    "exp": math.exp,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "max": max,
    "min": min,
    "sqrt": math.sqrt,
}
_RULE = f"write arithmetic of columns and numbers: + - * / **, parentheses, {', '.join(_FUNCTIONS)}"

Row = Mapping[str, float | None]


@dataclass(frozen=True)
class Expression:
    """A checked expression; ``columns`` are those it reads."""

    tree: ast.expr
    columns: frozenset[str]

    def value(self, row: Row) -> float | None:
        """Return the value for a row; None where a column is null or the value isn't a finite number."""
        if any(row.get(column) is None for column in self.columns):
            return None
        try:
            value = float(_evaluate(self.tree, row))
        except (ArithmeticError, ValueError):
            return None
        return value if math.isfinite(value) else None


def parse_expression(text: str, columns: Collection[str], *, where: str | None, key: str) -> Expression:
    """Check an expression against the columns there are.

    A column with dots in its name, such as ``radio.bandwidth_hz``, is written as it is. No Python is run:
    the expression's syntax tree is walked, and only numbers, columns, operators and named functions are known.

    Raises
    ------
    InputError
        For anything but arithmetic, and for an unknown column.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{len(text)} characters; at most {MAX_CHARACTERS}", where=where, key=key)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        used = frozenset(_columns(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = str(error) if type(error) is ValueError else "not an expression"
        raise InputError(f"{reason}; {_RULE}", where=where, key=key) from None
    for column in sorted(used):
        if column not in columns:
            hint = did_you_mean(column, columns) or f"numeric columns: {listed(sorted(columns))}"
            raise InputError(f"no numeric column '{column}'; {hint}", where=where, key=key)
    return Expression(tree, used)


def _columns(node: ast.expr) -> set[str]:
    match node:
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return set()
        case ast.Name() | ast.Attribute():
            return {_dotted(node)}
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            return _columns(node.operand)
        case ast.BinOp() if type(node.op) in _BINARY:
            return _columns(node.left) | _columns(node.right)
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS and node.args:
            few = len(node.args) == 1
            if few == (name in ("max", "min")):
                raise ValueError(f"'{name}' takes {'two or more values' if few else 'one value'}")
            return set().union(*map(_columns, node.args))
    raise ValueError(f"'{ast.unparse(node)}' can't stand here")


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=inner, attr=name):
            return f"{_dotted(inner)}.{name}"
    raise ValueError(f"'{ast.unparse(node)}' can't stand here")


def _evaluate(node: ast.expr, row: Row) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=sign, operand=inner):
            value = _evaluate(inner, row)
            return -value if isinstance(sign, ast.USub) else value
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_evaluate(left, row), _evaluate(right, row))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name](*(_evaluate(argument, row) for argument in arguments))
    found = row[_dotted(node)]
    assert found is not None
    return float(found)
