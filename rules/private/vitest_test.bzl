"""vitest as a Bazel test."""

load(":node_toolchain.bzl", "NODE_TOOLCHAIN_TYPE")
load(":npm_packages.bzl", "npm_attrs")
load(":runfiles.bzl", "runfiles_path")

_LAUNCHER = """\
#!/bin/sh
set -eu
exec "$TEST_SRCDIR/{node}" "$TEST_SRCDIR/{driver}" "{npm}" {folders}
"""

def _vitest_test_impl(ctx):
    node = ctx.toolchains[NODE_TOOLCHAIN_TYPE].node
    launcher = ctx.actions.declare_file(ctx.label.name)
    folders = {file.dirname: True for file in ctx.files.srcs}
    ctx.actions.write(launcher, _LAUNCHER.format(
        driver = runfiles_path(ctx, ctx.file._driver),
        folders = " ".join(['"%s"' % file.short_path for file in ctx.files.srcs]),
        node = runfiles_path(ctx, node.binary),
        npm = runfiles_path(ctx, ctx.file._npm).removesuffix("/package.json"),
    ), is_executable = True)
    if len(folders) != 1:
        fail("%s: a vitest_test covers one folder, found %s" % (ctx.label, sorted(folders)))
    runfiles = ctx.runfiles(
        files = [node.binary, ctx.file._driver, ctx.file._config, ctx.file._package_json, ctx.file._npm] +
                ctx.files.srcs + ctx.files.data + ctx.files._packages,
    ).merge_all([target[DefaultInfo].default_runfiles for target in ctx.attr.data])
    env = {
        name: ctx.expand_location(value, ctx.attr.data)
        for name, value in ctx.attr.env.items()
    }
    return [
        DefaultInfo(executable = launcher, runfiles = runfiles),
        testing.TestEnvironment(env, ["CVM_REQUIRE_ORACLES"]),
        # Types are checked with the build, so that a test whose types are wrong does not run green.
        OutputGroupInfo(_validation = depset(ctx.files.types)),
    ]

vitest_test = rule(
    implementation = _vitest_test_impl,
    attrs = {
        "data": attr.label_list(allow_files = True, doc = "Sources under test, vectors, built files."),
        "env": attr.string_dict(doc = "Environment of the tests; $(rlocationpath …) is expanded."),
        "srcs": attr.label_list(allow_files = [".test.ts"], mandatory = True, doc = "The test files of one folder."),
        "types": attr.label_list(doc = "`ts_project`s that check the tests' types; built along with the test."),
        "_config": attr.label(default = "//:vitest.config.ts", allow_single_file = True),
        "_driver": attr.label(default = "//rules/private:vitest_driver.mjs", allow_single_file = True),
        "_package_json": attr.label(default = "//:package.json", allow_single_file = True),
    } | npm_attrs(["@cvm_npm//:fast-check", "@cvm_npm//:vite", "@cvm_npm//:vitest", "@cvm_npm//:yaml"]),
    test = True,
    toolchains = [NODE_TOOLCHAIN_TYPE],
    doc = """Runs the vitest tests of one folder.

Writes test.xml, prints every failing test with its diff, and honours --test_filter as a test name pattern.
Tests see only declared files; nothing outside the sandbox's own loopback can be reached.""",
)
