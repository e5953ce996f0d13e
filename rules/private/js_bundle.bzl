"""One file of JavaScript out of many."""

load(":node_toolchain.bzl", "NODE_TOOLCHAIN_TYPE")
load(":npm_packages.bzl", "npm_attrs")
load(":ts_project.bzl", "TsProjectInfo")

def _js_bundle_impl(ctx):
    node = ctx.toolchains[NODE_TOOLCHAIN_TYPE].node
    project = ctx.attr.project[TsProjectInfo]
    npm = ctx.file._npm.dirname
    bundle = ctx.outputs.out
    metafile = ctx.actions.declare_file(ctx.outputs.out.basename + ".inputs.json")
    args = ctx.actions.args()
    args.add(ctx.file._driver)
    args.add("--esbuild", npm + "/node_modules/esbuild/lib/main.js")
    args.add("--node-modules", npm + "/node_modules")
    args.add("--entry", project.root + "/" + ctx.attr.entry)
    args.add("--root", project.root)
    args.add("--outfile", bundle)
    args.add("--inputs", metafile)
    parts = []
    caches = []
    if ctx.attr.split:
        parts.append(ctx.actions.declare_directory(bundle.basename.removesuffix(".mjs") + ".parts"))
        caches.append(ctx.actions.declare_directory(bundle.basename.removesuffix(".mjs") + ".caches"))
        args.add_all("--parts", parts, expand_directories = False)
        args.add_all("--caches", caches, expand_directories = False)
        args.add("--code-cache", ctx.file._code_cache)
    ctx.actions.run(
        executable = node.binary,
        arguments = [args],
        inputs = depset([ctx.file._driver, ctx.file._code_cache] + ctx.files._packages, transitive = [project.javascript]),
        outputs = [bundle, metafile] + parts + caches,
        mnemonic = "JsBundle",
        progress_message = "Bundling %{output}",
        env = {},
        execution_requirements = {"block-network": "1"},
        toolchain = NODE_TOOLCHAIN_TYPE,
    )
    return [
        DefaultInfo(files = depset([bundle]), runfiles = ctx.runfiles(files = [bundle] + parts + caches)),
        OutputGroupInfo(inputs = depset([metafile]), parts = depset(parts), caches = depset(caches)),
    ]

js_bundle = rule(
    implementation = _js_bundle_impl,
    attrs = {
        "entry": attr.string(mandatory = True, doc = "Workspace path of the entry, with .js for .ts."),
        "out": attr.output(mandatory = True, doc = "The bundle, an ECMAScript module."),
        "project": attr.label(mandatory = True, providers = [TsProjectInfo], doc = "The `ts_project` that compiles the entry."),
        "split": attr.bool(doc = "Whether each noun's commands go into a part of their own, in a folder `<out>.parts` beside the bundle, so that a call reads what it needs; V8's code caches of the parts are in `<out>.caches`."),
        "_code_cache": attr.label(default = "//rules/private:code_cache.mjs", allow_single_file = True),
        "_driver": attr.label(default = "//rules/private:js_bundle.mjs", allow_single_file = True),
    } | npm_attrs(["@cvm_npm//:esbuild"]),
    toolchains = [NODE_TOOLCHAIN_TYPE],
    doc = """Bundles compiled TypeScript and the packages it uses into one file that needs no node_modules.

Makes `out`, and with `split` the folders that it loads its parts and their code caches from, which are among the runfiles. The output group `inputs` lists, as JSON, every module that went in and what is imported at run time. Modules that are imported
dynamically are evaluated when first asked for. Promises equal bytes for equal inputs, in any folder.""",
)
