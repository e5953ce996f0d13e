"""TypeScript in, JavaScript out; a type error stops the build."""

load(":node_toolchain.bzl", "NODE_TOOLCHAIN_TYPE")

TsProjectInfo = provider(
    doc = "Compiled TypeScript.",
    fields = {
        "javascript": "depset[File]: everything compiled, own and of deps, in one folder tree",
        "root": "string: the folder of that tree, in the execution root; paths below it are workspace paths",
        "sources": "depset[File]: the .ts files, own and of deps",
    },
)

def _workspace_path(file):
    """The path in the file's own repository, wherever that stands."""
    path = file.short_path
    return path.split("/", 2)[2] if path.startswith("../") else path

def _relative_to(folder, path):
    return "/".join([".."] * len(folder.split("/"))) + "/" + path

def _ts_project_impl(ctx):
    node = ctx.toolchains[NODE_TOOLCHAIN_TYPE].node
    node_modules = ctx.file._npm.dirname + "/node_modules"
    sources = depset(ctx.files.srcs, transitive = [dep[TsProjectInfo].sources for dep in ctx.attr.deps])

    out = ctx.label.name + ".out"
    outputs = []
    for source in sources.to_list():
        if not source.path.endswith(".ts") or source.path.endswith(".d.ts"):
            fail("%s: srcs takes .ts files, found %s" % (ctx.label, source.short_path))
        outputs.append(ctx.actions.declare_file(out + "/" + _workspace_path(source).removesuffix(".ts") + ".js"))

    # The generated configuration stands where the output stands; every path in it is relative to that folder.
    config = ctx.actions.declare_file(ctx.label.name + ".tsconfig.json")
    here = config.dirname
    ctx.actions.write(config, json.encode_indent({
        "extends": _relative_to(here, ctx.file.tsconfig.path),
        "compilerOptions": {
            "noEmitOnError": True,
            "declaration": False,
            "incremental": False,
            "outDir": "./" + out,
            "rootDir": _relative_to(here, ctx.label.workspace_root or "."),
            "preserveSymlinks": True,
            # As the bundler does: nodenext takes no package through `paths`.
            "module": "esnext",
            "moduleResolution": "bundler",
            "paths": {"*": [
                _relative_to(here, node_modules + "/*"),
                _relative_to(here, node_modules + "/@types/*"),
            ]},
            "typeRoots": [_relative_to(here, node_modules + "/@types")],
        },
        "files": [_relative_to(here, source.path) for source in sources.to_list()],
        "include": [],
    }))

    args = ctx.actions.args()
    args.add(node_modules + "/typescript/lib/tsc.js")
    args.add("--project", config)
    ctx.actions.run(
        executable = node.binary,
        arguments = [args],
        inputs = depset(
            [config, ctx.file.tsconfig, ctx.file._package_json] + ctx.files._packages,
            transitive = [sources],
        ),
        outputs = outputs,
        mnemonic = "TsProject",
        progress_message = "Compiling TypeScript %{label}",
        env = {},
        execution_requirements = {"block-network": "1"},
        toolchain = NODE_TOOLCHAIN_TYPE,
    )
    return [
        DefaultInfo(files = depset(outputs)),
        OutputGroupInfo(_validation = depset([_validate_options(ctx, node, config, node_modules)])),
        TsProjectInfo(javascript = depset(outputs), root = config.dirname + "/" + out, sources = sources),
    ]

def _validate_options(ctx, node, config, node_modules):
    """Has @bazel/typescript check that the compiler options are those that the declared outputs rely on."""
    checked = ctx.actions.declare_file(ctx.label.name + ".options_checked")
    args = ctx.actions.args()
    args.add(node_modules + "/@bazel/typescript/internal/ts_project_options_validator.js")
    args.add(config)
    args.add(checked)
    args.add(str(ctx.label).replace("@@//", "//"))
    args.add(json.encode({
        "allow_js": False,
        "composite": False,
        "declaration": False,
        "declaration_map": False,
        "emit_declaration_only": False,
        "incremental": False,
        "preserve_jsx": False,
        "resolve_json_module": False,
        "source_map": False,
        "ts_build_info_file": "",
    }))
    ctx.actions.run(
        executable = node.binary,
        arguments = [args],
        inputs = [config, ctx.file.tsconfig] + ctx.files._validator,
        outputs = [checked],
        mnemonic = "TsValidateOptions",
        progress_message = "Checking compiler options %{label}",
        env = {},
        execution_requirements = {"block-network": "1"},
        toolchain = NODE_TOOLCHAIN_TYPE,
    )
    return checked

ts_project = rule(
    implementation = _ts_project_impl,
    attrs = {
        "deps": attr.label_list(
            providers = [TsProjectInfo],
            doc = "Other `ts_project`s whose sources these import by relative path.",
        ),
        "srcs": attr.label_list(
            allow_files = [".ts"],
            mandatory = True,
            doc = "TypeScript sources.",
        ),
        "tsconfig": attr.label(
            allow_single_file = [".json"],
            default = "//:tsconfig.json",
            doc = "Compiler options; paths, outputs and file lists are this rule's.",
        ),
        # Says that .ts files are ECMAScript modules.
        "_package_json": attr.label(
            default = "//:package.json",
            allow_single_file = True,
        ),
        "_npm": attr.label(
            default = "@cvm_npm//:package.json",
            allow_single_file = True,
        ),
        "_validator": attr.label(default = "@cvm_npm//:@bazel/typescript"),
        "_packages": attr.label_list(default = [
            "@cvm_npm//:@dfinity/agent",
            "@cvm_npm//:@dfinity/candid",
            "@cvm_npm//:@dfinity/principal",
            "@cvm_npm//:@noble/curves",
            "@cvm_npm//:@noble/hashes",
            "@cvm_npm//:@types/node",
            "@cvm_npm//:cbor-x",
            "@cvm_npm//:commander",
            "@cvm_npm//:fast-check",
            "@cvm_npm//:typescript",
            "@cvm_npm//:valibot",
            "@cvm_npm//:vitest",
        ]),
    },
    toolchains = [NODE_TOOLCHAIN_TYPE],
    doc = """Compiles TypeScript with the compiler that package-lock.json pins.

Makes `<name>.out/`, a tree of JavaScript for `srcs` and everything in `deps`, under workspace paths. Fails on any
type error, whatever the execution strategy: the compiler's exit code is the action's, and nothing is written then.
Packages are resolved from package-lock.json alone, never from a node_modules folder in the source tree.""",
)
