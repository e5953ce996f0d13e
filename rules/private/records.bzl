"""Small files beside an image: its sha256, its version, and the mark of what must not reach production."""

load("//rules:providers.bzl", "CvmUpdateImageInfo")
load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _cvm_sha256_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    args = ctx.actions.args()
    args.add(ctx.file.file)
    args.add("--output", out)
    run_cvm(
        ctx,
        noun = "file",
        verb = "sha256",
        progress = "Hashing for",
        inputs = [ctx.file.file],
        outputs = [out],
        arguments = args,
    )
    return [DefaultInfo(files = depset([out]))]

cvm_sha256 = rule(
    implementation = _cvm_sha256_impl,
    attrs = dict(
        CVM_ATTRS,
        file = attr.label(mandatory = True, allow_single_file = True, doc = "The file to hash."),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = "Writes a file's sha256 in the form that `sha256sum --check` takes. Makes a file called `<name>`.",
)

def _cvm_not_for_production_impl(ctx):
    image = ctx.attr.image[CvmUpdateImageInfo]
    if image.network != "dev":
        fail("%s: only an image of the dev network is marked, this is %s" % (ctx.label, image.network))
    out = ctx.actions.declare_file(ctx.label.name)
    args = ctx.actions.args()
    args.add("--output", out)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = "not-for-production",
        progress = "Marking",
        inputs = [],
        outputs = [out],
        arguments = args,
    )
    return [DefaultInfo(files = depset([out]))]

cvm_not_for_production = rule(
    implementation = _cvm_not_for_production_impl,
    attrs = dict(
        CVM_ATTRS,
        image = attr.label(mandatory = True, providers = [CvmUpdateImageInfo], doc = "An update image of the dev network."),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = "Writes the notice that stands beside every image of the dev network. Makes a file called `<name>`.",
)

def _cvm_version_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    args = ctx.actions.args()
    args.add(ctx.file.version_file)
    args.add("--suffix=" + ctx.attr.suffix)
    args.add("--output", out)
    run_cvm(
        ctx,
        noun = "guestos",
        verb = "version",
        progress = "Writing the version",
        inputs = [ctx.file.version_file],
        outputs = [out],
        arguments = args,
    )
    return [DefaultInfo(files = depset([out]))]

cvm_version = rule(
    implementation = _cvm_version_impl,
    attrs = dict(
        CVM_ATTRS,
        suffix = attr.string(mandatory = True, doc = "What to append, for example -test."),
        version_file = attr.label(mandatory = True, allow_single_file = True, doc = "A version, one line."),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = "Writes a version with a suffix: that of an image's twin. Makes a file called `<name>`.",
)
