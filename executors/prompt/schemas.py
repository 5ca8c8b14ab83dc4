"""JSON schemas: read from a file, drafted from training targets, and what in a value breaks one.

Covered: JSON Schema as `jsonschema` validates it (draft 2020-12 unless the file names another), formats that need no
further package (date, email, uuid, ...), references within the file. Not covered: references to other files and
addresses, which are refused rather than fetched; keywords that the standard does not know are ignored, as it says.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executors.base import Problem, UserError, did_you_mean
from executors.data.encoding import detect_encoding
from executors.data.values import parse_json

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

ENUM_VALUES = 12  # most values a string may take to be one of a list
ENUM_REPEATS = 3  # rows a value that are needed to believe the list to be whole; at least ENUM_ROWS in all
ENUM_ROWS = 12
FREE_KEYS = 3  # keys in all rows, as a multiple of the largest row's, from which on they are data and not names
SHOWN = 120  # characters of a value or rule in a sentence


@dataclass(frozen=True)
class Schema:
    """A schema known to be sound: `load_schema` and `infer_schema` make it; `document` can be saved as JSON."""

    document: Mapping[str, Any]

    @functools.cached_property
    def compact(self) -> str:
        """The schema on one line, without what says nothing about an answer."""
        return compact({k: v for k, v in self.document.items() if k not in ("$schema", "$id", "$comment")})

    def faults(self, value: Any) -> list[str]:
        """Everything in `value` that breaks the schema: where, the rule, and what stands there. Empty: it is valid."""
        try:
            return list(dict.fromkeys(map(_sentence, self._validator.iter_errors(value))))
        except RecursionError:  # a schema may refer to itself without end
            return ["$: nested too deeply to be checked"]

    @functools.cached_property
    def _validator(self) -> Validator:
        return _validator(self.document)


def compact(value: Any) -> str:
    """A value as JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def shown(value: Any) -> str:
    """A value as JSON, cut to the length a sentence bears."""
    text = compact(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _sentence(error: ValidationError) -> str:
    """``$.amount: type is "number", got "12 EUR"``; of alternatives the one that came nearest."""
    from jsonschema.exceptions import best_match

    nearest = best_match([error]) or error
    if nearest.validator in ("required", "additionalProperties", "unevaluatedProperties", "dependentRequired"):
        return f"{nearest.json_path}: {nearest.message}"  # names the keys, which the rule's value does not
    if nearest.validator is None:  # the schema `false`
        return f"{nearest.json_path}: no value is allowed"
    rule = f"{nearest.validator} is {shown(nearest.validator_value)}"
    return f"{nearest.json_path}: {rule}, got {shown(nearest.instance)}"


def _validator(document: Mapping[str, Any]) -> Validator:
    import referencing
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    named = document.get("$schema")  # which draft it is written in; a wrong one is told by its rules
    kind: Any = validator_for({"$schema": named} if isinstance(named, str) else {}, default=Draft202012Validator)
    validator: Validator = kind(document, registry=referencing.Registry(), format_checker=kind.FORMAT_CHECKER)
    return validator


# -- from a file ---------------------------------------------------------------------------------------


def load_schema(path: Path) -> Schema:
    """The schema in a JSON file. Raises `UserError` naming every fault: no file, no JSON, a keyword used wrongly."""
    if not path.is_file():
        raise _refused(path, "no such file", "没有这个文件", "name a JSON file", "请给出一个 JSON 文件")
    text = path.read_text(encoding=detect_encoding(path))
    try:
        document = parse_json(text)
    except ValueError as error:
        raise _refused(
            path, f"no JSON: {error}", f"不是合法的 JSON：{error}", "mend it there; the file holds one JSON object",
            "请修正该处；文件应为一个 JSON 对象",
        ) from error  # fmt: skip
    if not isinstance(document, dict):
        kind = type_of(document)
        raise _refused(
            path, f"a schema is a JSON object, this is of type {kind}", f"schema 应为 JSON 对象，此处类型为 {kind}",
            'for example {"type": "object", "properties": {...}}', '例如 {"type": "object", "properties": {...}}',
        )  # fmt: skip
    problems = [*_rule_problems(path, document)]
    problems = problems or [*dict.fromkeys(_reference_problems(path, document))]  # what is no schema cannot be walked
    if problems:
        raise UserError.of(problems)
    return Schema(document)


def _refused(path: Path, en: str, zh: str, hint: str, hint_zh: str) -> UserError:
    return UserError(f"schema {path}: {en}", hint, Problem(f"schema 文件 {path}：{zh}", hint_zh))


def _problem(path: Path, where: str, en: str, zh: str) -> Problem:
    return Problem(
        f"schema {path}: {where}: {en}",
        "keywords and their values: https://json-schema.org/understanding-json-schema",
        Problem(
            f"schema 文件 {path}：{where}：{zh}", "关键字及其取值：https://json-schema.org/understanding-json-schema"
        ),
    )


def _rule_problems(path: Path, document: Mapping[str, Any]) -> Iterator[Problem]:
    """Keywords whose value the standard does not allow."""
    kind = type(_validator(document))
    for error in kind(kind.META_SCHEMA, format_checker=kind.FORMAT_CHECKER).iter_errors(document):
        got = shown(error.instance)
        if error.absolute_path and error.absolute_path[-1] == "type" and isinstance(error.instance, str):
            meant = [did_you_mean(error.instance, TYPES, lang) for lang in ("en", "zh")]
            yield _problem(path, error.json_path, f"no type {got}{meant[0]}", f"没有类型 {got}{meant[1]}")
        elif error.validator == "format":
            rule = error.validator_value
            yield _problem(path, error.json_path, f"no valid {rule}: {got}", f"不是合法的 {rule}：{got}")
        else:
            rule = f"{error.validator} {shown(error.validator_value)}"
            yield _problem(path, error.json_path, f"expected {rule}, got {got}", f"应满足 {rule}，实际为 {got}")


def _reference_problems(path: Path, document: Mapping[str, Any]) -> Iterator[Problem]:
    """References that lead nowhere, out of the file, or round in a circle."""
    import referencing
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, specification_with

    rules = specification_with(str(document.get("$schema", "")), default=DRAFT202012)
    root: Any = rules.create_resource(document)
    for schema, resolver in _subschemas(root, referencing.Registry[Any]().resolver_with_root(root)):
        reference, seen = schema.get("$ref"), set()
        try:
            while isinstance(reference, str) and reference not in seen:
                seen.add(reference)
                found = resolver.lookup(reference)
                resolver, target = found.resolver, found.contents
                reference = target.get("$ref") if isinstance(target, dict) else None
        except Unresolvable:
            en = "leads nowhere in this file, and nothing is fetched"
            yield _problem(path, f"$ref {reference}", en, "在本文件中找不到所指内容，也不会从外部获取")
        else:
            if reference is not None:
                yield _problem(path, f"$ref {reference}", "leads back to itself", "引用最终指回自身")


def _subschemas(resource: Any, resolver: Any) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Every schema within a schema, with what resolves the references that stand there."""
    if isinstance(resource.contents, dict):
        yield resource.contents, resolver
    for inner in resource.subresources():
        yield from _subschemas(inner, resolver.in_subresource(inner))


# -- from targets --------------------------------------------------------------------------------------

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")


def type_of(value: Any) -> str:
    """The JSON Schema type of a value; a whole number is an integer."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) or value.is_integer() else "number"
    return "object" if isinstance(value, dict) else "array" if isinstance(value, list) else "string"


def infer_schema(targets: Sequence[str]) -> Schema | None:
    """The narrowest schema of these kinds that all `targets` keep; None unless all are JSON objects or arrays.

    Of an object: every key with the schema of its values, required where all objects have it, and no other key;
    but where keys are many and differ from row to row, they are data, and only their values have a schema. A string
    that takes at most ENUM_VALUES values, none of them once only, in ENUM_REPEATS times as many rows is one of these.
    """
    try:
        values = [parse_json(target) for target in targets]
    except ValueError:
        return None
    if not values or not all(isinstance(value, (dict, list)) for value in values):
        return None
    return Schema({"$schema": "https://json-schema.org/draft/2020-12/schema", **_inferred(values)})


def _inferred(values: Sequence[Any]) -> dict[str, Any]:
    found = {type_of(value) for value in values}
    if "number" in found:
        found.discard("integer")
    names = [name for name in TYPES if name in found]
    schema: dict[str, Any] = {"type": names[0] if len(names) == 1 else names}
    strings = [value for value in values if isinstance(value, str)]
    if strings and found <= {"string", "null"} and _are_choices(strings):
        schema["enum"] = [*dict.fromkeys(strings), *([None] if "null" in found else [])]
    entries = [entry for value in values if isinstance(value, list) for entry in value]
    if entries:
        schema["items"] = _inferred(entries)
    objects = [value for value in values if isinstance(value, dict)]
    return {**schema, **_keys(objects)} if objects else schema


def _are_choices(strings: Sequence[str]) -> bool:
    counts = Counter(strings)
    often = len(strings) >= max(ENUM_ROWS, ENUM_REPEATS * len(counts))
    return often and len(counts) <= ENUM_VALUES and min(counts.values()) > 1


def _keys(objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a schema says of the keys of an object."""
    keys = list(dict.fromkeys(key for value in objects for key in value))
    required = [key for key in keys if all(key in value for value in objects)]
    if keys and not required and len(keys) > FREE_KEYS * max(map(len, objects)):
        return {"additionalProperties": _inferred([entry for value in objects for entry in value.values()])}
    properties = {key: _inferred([value[key] for value in objects if key in value]) for key in keys}
    return {"properties": properties, "required": required, "additionalProperties": False}
