"""What a PromQL expression names, and which labels its result carries. Knows the metrics it is told of; asks no server.

Stricter than Prometheus, which answers nothing at all where a metric, a label or a match is misspelt: here it is an
error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser as promql
from prometheus_client import CollectorRegistry

__all__ = [
    "TARGET",
    "UnknownNameError",
    "closed_values",
    "exposed",
    "labels_of",
    "metrics_in",
    "misspelt_values",
    "subexpressions",
]

Labels = frozenset[str]
TARGET: Labels = frozenset({"job", "instance"})
"""What Prometheus adds to everything it scrapes."""
SET_OPERATORS = ("and", "unless", "or")
OPEN = {"pipeline", "index", "name", "provider", "sha256", "version", "le", *TARGET}
"""Labels whose values the code does not list."""


class UnknownNameError(ValueError):
    """A metric or label that nobody defines, or a match of two vectors that have no labels in common."""


def exposed(registry: CollectorRegistry) -> dict[str, Labels]:
    """Every sample name that a registry can expose -> its labels, those of the target included."""
    found: dict[str, Labels] = {}
    for collector in set(registry._names_to_collectors.values()):
        labels = frozenset(collector._labelnames) | TARGET
        name = collector._name
        match collector._type:
            case "counter":
                found[f"{name}_total"] = labels
            case "histogram":
                found |= {f"{name}_bucket": labels | {"le"}, f"{name}_count": labels, f"{name}_sum": labels}
            case _:
                found[name] = labels
    return found


def closed_values(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Every label with a closed set of values -> those values, of all metrics together."""
    found: dict[str, set[str]] = {}
    for family in registry.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label not in OPEN:
                    found.setdefault(label, set()).add(value)
    return found


def misspelt_values(expr: str, closed: Mapping[str, set[str]]) -> list[str]:
    """Words that an expression looks for in labels and that none of them can be."""
    wrong = []
    for node in subexpressions(promql.parse(expr)):
        for matcher in node.matchers.matchers if isinstance(node, promql.VectorSelector) else ():
            words = matcher.value.split("|")  # an alternative, or the one word that it is
            wrong += [f'{matcher.name}="{word}"' for word in words if _is_unknown(word, closed.get(matcher.name))]
    return wrong


def metrics_in(expr: str) -> set[str]:
    return {node.name for node in subexpressions(promql.parse(expr)) if isinstance(node, promql.VectorSelector)}


def labels_of(expr: str, known: Mapping[str, Labels]) -> Labels:
    """The labels of an expression's result. Raises UnknownNameError for what `known` does not define."""
    return _labels(promql.parse(expr), known)


def subexpressions(node: Any) -> Iterator[Any]:
    yield node
    for child in _children(node):
        yield from subexpressions(child)


def _children(node: Any) -> list[Any]:
    match node:
        case promql.MatrixSelector():
            return [node.vector_selector]
        case promql.AggregateExpr():
            return [node.expr, *([node.param] if node.param is not None else [])]
        case promql.BinaryExpr():
            return [node.lhs, node.rhs]
        case promql.Call():
            return list(node.args)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return [node.expr]
        case _:
            return []


def _labels(node: Any, known: Mapping[str, Labels]) -> Labels:
    match node:
        case promql.VectorSelector():
            if node.name not in known:
                raise UnknownNameError(f"no metric {node.name}")
            _require({m.name for m in node.matchers.matchers}, known[node.name], node)
            return known[node.name]
        case promql.AggregateExpr():
            return _aggregated(node, _labels(node.expr, known))
        case promql.BinaryExpr():
            return _matched(node, _labels(node.lhs, known), _labels(node.rhs, known))
        case promql.Call():
            return _called(node, known)
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
        case _:
            (inner,) = _children(node)
            return _labels(inner, known)


def _is_unknown(word: str, closed: set[str] | None) -> bool:
    return closed is not None and word.isidentifier() and word not in closed


def _aggregated(node: Any, inner: Labels) -> Labels:
    if str(node.op) in ("topk", "bottomk"):
        return inner
    if node.modifier is None:
        return frozenset()
    named = frozenset(node.modifier.labels)
    _require(named, inner, node)
    return named if node.modifier.type == promql.AggModifierType.By else inner - named


def _called(node: Any, known: Mapping[str, Labels]) -> Labels:
    found = [_labels(arg, known) for arg in node.args]
    match node.func.name:
        case "histogram_quantile":
            _require({"le"}, found[1], node)
            return found[1] - {"le"}
        case "label_replace" | "label_join":
            return found[0] | {node.args[1].val}
        case "absent" | "scalar" | "time" | "vector":
            return frozenset()
        case _:
            return frozenset().union(*found)


def _matched(node: Any, left: Labels, right: Labels) -> Labels:
    if _is_scalar(node.lhs) or _is_scalar(node.rhs):
        return left | right
    modifier, operator = node.modifier, str(node.op)
    if modifier is None or modifier.matching is None:
        if left != right:
            raise UnknownNameError(f"{sorted(left)} never matches {sorted(right)} in {node}")
        return left
    named = frozenset(modifier.matching.labels)
    _require(named, left, node)
    _require(named, right, node)
    if operator in SET_OPERATORS:
        return left & right if operator == "or" else left
    by_name = modifier.matching.type == promql.LabelModifierType.Include
    match modifier.card:
        case promql.VectorMatchCardinality.ManyToOne:
            return left | frozenset(modifier.group_labels)
        case promql.VectorMatchCardinality.OneToMany:
            return right | frozenset(modifier.group_labels)
        case _:
            return named if by_name else left - named


def _is_scalar(node: Any) -> bool:
    match node:
        case promql.NumberLiteral():
            return True
        case promql.Call():
            return node.func.name in ("time", "scalar")
        case promql.ParenExpr() | promql.UnaryExpr():
            return _is_scalar(node.expr)
        case promql.BinaryExpr():
            return _is_scalar(node.lhs) and _is_scalar(node.rhs)
        case _:
            return False


def _require(named: frozenset[str] | set[str], there: Labels, node: Any) -> None:
    missing = sorted(named - there)
    if missing:
        raise UnknownNameError(f"no label {', '.join(missing)} in {node}; there are {sorted(there)}")
