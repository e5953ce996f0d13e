import { describe, expect, test } from 'vitest';
import { removedFlags, removedStarlark } from '../../support/removed-starlark.ts';

describe('what Bazel 8 and 9 removed is found', () => {
  test.each([
    ['a C++ rule', 'cc_library(name = "x")', 'cc_library'],
    ['a Java rule in a macro', 'def m():\n    native.java_library(name = "x")', 'native.java_library'],
    ['a Python rule', 'py_binary(name = "x")', 'py_binary'],
    ['a shell rule', 'sh_test(name = "x", srcs = ["x.sh"])', 'sh_test'],
    [
      'a shell rule of a macro, though one is loaded',
      'load("@rules_shell//shell:sh_test.bzl", "sh_test")\nnative.sh_test(name = "x")',
      'native.sh_test',
    ],
    ['a proto rule', 'proto_library(name = "x")', 'proto_library'],
    ['an Android rule', 'android_binary(name = "x")', 'android_binary'],
    ['CcInfo', 'def _impl(ctx):\n    return ctx.attr.dep[CcInfo]', 'CcInfo'],
    ['JavaInfo', 'x = JavaInfo', 'JavaInfo'],
    ['PyRuntimeInfo', 'x = PyRuntimeInfo', 'PyRuntimeInfo'],
    ['ProtoInfo', 'providers = [ProtoInfo]', 'ProtoInfo'],
    ['cc_common', 'cc_common.compile()', 'cc_common'],
    ['a native repository rule', 'local_repository(name = "x", path = "y")', 'local_repository'],
    [
      'a native repository rule in a macro',
      'def m():\n    native.new_local_repository(name = "x")',
      'native.new_local_repository',
    ],
    ['bind', 'bind(name = "x", actual = "//y")', 'bind'],
    [
      'registering in a macro',
      'def m():\n    native.register_toolchains("//x")',
      'native.register_toolchains',
    ],
    ['the host platform of old', 'parents = ["@local_config_platform//:host"]', '@local_config_platform'],
    [
      'constraints of old',
      'exec_compatible_with = ["@bazel_tools//platforms:linux"]',
      '@bazel_tools//platforms',
    ],
    [
      'the toolchain transition',
      'x = rule(implementation = _x, incompatible_use_toolchain_transition = True)',
      'incompatible_use_toolchain_transition',
    ],
    ['the host configuration', 'attr.label(cfg = "host")', 'cfg = "host"'],
    ['the data configuration', "attr.label(cfg = 'data')", "cfg = 'data'"],
    ['a Python fragment', 'x = ctx.fragments.py', 'ctx.fragments.py'],
    ['an implicit executable', 'ctx.actions.write(ctx.outputs.executable, "")', 'ctx.outputs.executable'],
    ['a relative label', 'Label("//x").relative(":y")', '.relative('],
    ['to_json', 'struct(a = 1).to_json()', '.to_json('],
    ['a struct of old', 'def _impl(ctx):\n    return struct(files = depset())', 'return struct('],
    ['a rule in the text of a BUILD file', '_BUILD = """\ncc_library(name = "x")\n"""', 'cc_library'],
  ])('%s', (_, text, shown) => {
    const findings = removedStarlark(text);
    expect(findings).toHaveLength(1);
    expect(findings[0]).toContain(shown);
  });

  test.each([
    ['a removed flag', 'build --incompatible_use_toolchain_transition'],
    ['a removed flag, negated', 'build --noincompatible_struct_has_no_methods'],
    ['loads that nobody wrote', 'common --incompatible_autoload_externally=+@rules_cc'],
    ['a toolchain from before platforms', 'build --crosstool_top=//x'],
    ['bzlmod as an experiment', 'common --experimental_enable_bzlmod'],
  ])('%s', (_, text) => {
    expect(removedFlags(text)).toHaveLength(1);
  });
});

describe('what is there still is let alone', () => {
  test.each([
    ['what is loaded', 'load("@rules_shell//shell:sh_test.bzl", "sh_test")\nsh_test(name = "x")'],
    [
      'what is loaded under another name',
      'load("@rules_cc//cc:defs.bzl", cc_library = "cc_library")\ncc_library(name = "x")',
    ],
    [
      'what is loaded over several lines',
      'load(\n    "@rules_cc//cc/common:cc_info.bzl",\n    "CcInfo",\n)\nx = CcInfo',
    ],
    [
      'a loaded http_file',
      'load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_file")\nhttp_file(name = "x")',
    ],
    [
      'rules that are native in every Bazel',
      'filegroup(name = "x")\ngenrule(name = "y")\ntest_suite(name = "z")\nstarlark_doc_extract(name = "d")',
    ],
    ['a comment', '# cc_library(name = "x") went\nfilegroup(name = "x")'],
    ['a rule of our own', 'def proto_lock(name):\n    pass\n\nproto_lock(name = "x")'],
    ['a struct that is no provider', 'def f():\n    return struct(files = {}, downloads = [])'],
  ])('%s', (_, text) => {
    expect(removedStarlark(text)).toEqual([]);
  });

  test('a repository rule of WORKSPACE, which no Bazel reads that took it away', () => {
    const text = 'local_repository(name = "x", path = "y")';
    expect(removedStarlark(text, true)).toEqual([]);
    expect(removedStarlark(text)).toHaveLength(1);
  });
});
