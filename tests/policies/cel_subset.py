"""What of the CEL specification's own vectors holds for policies, and what does not, each with its reason: all here."""

import base64
from typing import Any

EVERYTHING: frozenset[str] = frozenset()

COVERED: dict[str, frozenset[str]] = {
    "basic": EVERYTHING,
    "conversions": EVERYTHING,
    "fields": EVERYTHING,
    "fp_math": EVERYTHING,
    "integer_math": EVERYTHING,
    "lists": EVERYTHING,
    "parse": frozenset({"nest", "repeat", "string_literals", "bytes_literals", "selectors"}),
    "plumbing": EVERYTHING,
    "type_deduction": frozenset({"constant_literals", "complex_initializers", "indexing", "functions"}),
}
"""Files, and which of their sections where it is not all."""

PROTO = "it needs protobuf messages, and facts are none"
EXTENSION = "a library beyond the standard one, which is not switched on: its functions are unknown, so it denies"
EXCLUDED: dict[str, str] = {
    "dynamic": PROTO,
    "enums": PROTO,
    "proto2": PROTO,
    "proto2_ext": PROTO,
    "proto3": PROTO,
    "wrappers": PROTO,
    "unknowns": "every fact is known, or judging has failed before: there is no partial state",
    "namespace": "it binds variables in a container, and a policy reads the facts by their full names only",
    "parse/whitespace": PROTO,
    "parse/comments": PROTO,
    "parse/struct_field_names": PROTO,
    "parse/receiver_function_names": "it declares functions of its own, without type checks",
    "type_deduction/field_access": PROTO,
    "type_deduction/wrappers": PROTO,
    "type_deduction/legacy_nullable_types": PROTO,
    "type_deduction/flexible_type_parameter_assignment": "it looks at a checker's deductions, not at a result",
    "type_deduction/type_parameters": "it declares variables of its own",
}
"""Files, or file/section."""

EXTENSIONS = (
    "bindings_ext",
    "block_ext",
    "encoders_ext",
    "macros2",
    "math_ext",
    "network_ext",
    "optionals",
    "string_ext",
)
EXCLUDED |= dict.fromkeys(EXTENSIONS, EXTENSION)

LEFT_OUT = {
    "needs_proto": PROTO,
    "disable_check": "policies are always type-checked",
    "type_env": "it declares variables of its own",
    "bindings": "it binds variables of its own",
}
"""What leaves a single case of a covered section out."""

KNOWN = {
    "fields/qualified_identifier_resolution/map_value_repeat_key_heterogeneous": (
        "the library does not refuse a map with the keys 0 and 0u; facts have no maps with numbers for keys"
    ),
    "parse/nest/parens": "the library stops at a depth of 32, which this one reaches together with the comparison",
}
"""Cases that do not hold."""


def literal(value: dict[str, Any]) -> str:
    """A value of the vectors as CEL text."""
    ((kind, v),) = value.items()
    match kind:
        case "int64_value":
            return str(v) if int(v) != -(2**63) else "(-9223372036854775807 - 1)"
        case "uint64_value":
            return f"{v}u"
        case "double_value":
            return f"double('{v}')"
        case "string_value":
            return '"' + "".join(f"\\U{ord(c):08x}" for c in v) + '"'
        case "bytes_value":
            return "b'" + "".join(f"\\x{b:02x}" for b in base64.b64decode(v)) + "'"
        case "bool_value":
            return str(v).lower()
        case "null_value":
            return "null"
        case "list_value":
            return "[" + ", ".join(literal(item) for item in v.get("values", [])) + "]"
        case "map_value":
            pairs = (f"{literal(e['key'])}: {literal(e['value'])}" for e in v.get("entries", []))
            return "{" + ", ".join(pairs) + "}"
        case "type_value":
            return str(v)
    raise ValueError(f"no literal for {kind}")


def as_policy(case: dict[str, Any]) -> str:
    """A policy that is true if the case holds; of a case that must fail, one that errs if it does."""
    said = case["expr"]
    if "eval_error" in case:
        return f"({said}) == ({said})"
    value = case.get("value") or case.get("typed_result", {}).get("result") or {"bool_value": True}
    if value.get("double_value") == "NaN":
        return f"({said}) != ({said})"
    expected = literal(value)
    return f"({said}) == {expected} && type({said}) == type({expected})"
