"""Tests of pure Starlark functions: cases are checked while the target is analysed, and reported when it is run."""

def _starlark_test_impl(ctx):
    # The cases were run while loading; what failed is text by now, so that every failure shows and not the first.
    script = ctx.actions.declare_file(ctx.label.name + ".sh")
    lines = ["#!/bin/sh"]
    for line in ctx.attr.failures:
        lines.append("echo '%s' >&2" % line.replace("'", "'\\''"))
    lines.append("echo '%d cases, %d failures'" % (ctx.attr.cases, len(ctx.attr.failures)))
    lines.append("exit %d" % (1 if ctx.attr.failures else 0))
    ctx.actions.write(script, "\n".join(lines) + "\n", is_executable = True)
    return [DefaultInfo(executable = script)]

_starlark_test = rule(
    implementation = _starlark_test_impl,
    attrs = {
        "cases": attr.int(mandatory = True),
        "failures": attr.string_list(mandatory = True),
    },
    test = True,
)

def starlark_test(name, cases):
    """Declares a test of cases that were run while loading.

    Args:
      name: the target's name
      cases: list of struct(law, found, expected)
    """
    if not cases:
        fail("%s has no cases" % name)
    _starlark_test(
        name = name,
        cases = len(cases),
        failures = [
            "%s: expected %r, found %r" % (case.law, case.expected, case.found)
            for case in cases
            if case.found != case.expected
        ],
        size = "small",
    )

def expect(law, found, expected):
    """Makes a case.

    Args:
      law: what must hold, in words
      found: what the code under test gave
      expected: what it must give

    Returns:
      struct(law, found, expected)
    """
    return struct(law = law, found = found, expected = expected)
