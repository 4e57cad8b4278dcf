"""How state of one layout becomes state of another: versions, rules, and the registry that records them.

    load_registry(schema, search) → Registry       registry.py   state/<schema>/<map>.<version>.yaml → LayoutVersion
        .head(map)  .match(map, key, value)  .history(map)
    compile_conversion(old, new)                    compile.py    one version on, as a Conversion
    compose(chain), invert(chain)                                 many versions in one pass, and the way back
    between(versions, old, new)                                   either way, by version number
    Conversion, Rule, Op, LayoutVersion, FieldRule  rules.py      the data, as records and plans carry it
    apply_rules(c, key, value), merge_rules(…)      reference.py  what the interpreter in the kernel does, in Python

A step between two versions is worked out on bytes: match.py pairs fields by name and rule and yields pieces
(pieces.py), each saying where some bytes of the new layout come from. Pieces are composed and inverted; emit.py
turns the result into rules. Pure but for registry.py, which reads files. Whatever cannot be done exactly is
refused with all reasons at once (StateRefused).

Stands beside spec; may import typetree, elf, btf, errors, layout, kernel and spec.{text,schema,check,fits,values}.
"""
