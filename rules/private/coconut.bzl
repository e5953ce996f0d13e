"""COCONUT-SVSM images from build recipes, without Rust, a network or the host's tools."""

load(":run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

# What is made of each target of a recipe.
_KINDS = ["igvm", "digest", "digest.json", "explain"]

# Other than None, which is a choice.
_UNSAID = "@unsaid"

def _parts(ctx, args, flag, attribute):
    """Adds a flag for each name of each file; returns the files."""
    inputs = []
    for target, names in attribute.items():
        files = target.files.to_list()
        if len(files) != 1:
            fail("%s: %s must be one file, is %d" % (ctx.label, target.label, len(files)))
        inputs.append(files[0])
        for name in names.split("\n"):
            args.add(flag, files[0], format = name.replace("%", "%%") + "=%s")
    return inputs

def _coconut_igvm_impl(ctx):
    out = ctx.actions.declare_directory(ctx.label.name)
    args = ctx.actions.args()
    args.add(ctx.file.recipe)
    inputs = [ctx.file.recipe]
    inputs += _parts(ctx, args, "--component", ctx.attr.components)
    inputs += _parts(ctx, args, "--module", ctx.attr.modules)
    if ctx.file.firmware:
        args.add("--firmware", ctx.file.firmware)
        inputs.append(ctx.file.firmware)
    if ctx.attr.without_firmware:
        args.add("--without-firmware")
    if ctx.attr.layout:
        args.add("--layout", ctx.attr.layout)
    if ctx.attr.svsm_commit:
        args.add("--svsm-commit", ctx.attr.svsm_commit)
    if ctx.attr.allow_unknown_keys:
        args.add("--allow-unknown-keys")
    for file in ctx.outputs.images:
        hypervisor, _, kind = file.basename.removeprefix(ctx.label.name + ".").partition(".")
        args.add("--copy", file, format = hypervisor + ":" + kind + "=%s")
    args.add("--output", out.path)
    run_cvm(
        ctx,
        noun = "coconut",
        verb = "assemble",
        progress = "Building the IGVM files of",
        inputs = inputs,
        outputs = [out] + ctx.outputs.images,
        arguments = args,
    )
    return [DefaultInfo(files = depset([out] + ctx.outputs.images))]

_coconut_igvm = rule(
    implementation = _coconut_igvm_impl,
    attrs = dict(
        CVM_ATTRS,
        allow_unknown_keys = attr.bool(doc = "Keys of the recipe that mean nothing are ignored."),
        components = attr.label_keyed_string_dict(
            allow_files = True,
            doc = "Each built part of the kernel to its names in the recipe, one a line.",
        ),
        firmware = attr.label(allow_single_file = True, doc = "OVMF; for the target hyper-v an IGVM file."),
        images = attr.output_list(doc = "`<name>.<hypervisor>.<kind>`: files that are also handed out one by one."),
        layout = attr.string(doc = "Where the parts go; that of the recipe's generation when absent."),
        modules = attr.label_keyed_string_dict(
            allow_files = True,
            doc = "Each built module of the file-system image to its names in the recipe, one a line.",
        ),
        recipe = attr.label(mandatory = True, allow_single_file = True, doc = "The build recipe, JSON."),
        svsm_commit = attr.string(doc = "Commit of COCONUT-SVSM that the parts are built from."),
        without_firmware = attr.bool(doc = "Whether the firmware that the recipe names is left out on purpose."),
    ),
    toolchains = CVM_TOOLCHAINS,
)

def _by_label(files):
    """Names to labels, turned round: labels to their names, one a line."""
    names = {}
    for name, label in files.items():
        key = native.package_relative_label(label)
        names[key] = names[key] + "\n" + name if key in names else name
    return names

def coconut_igvm(
        name,
        recipe,
        components,
        modules = {},
        firmware = _UNSAID,
        hypervisors = [],
        **kwargs):
    """Builds and measures the IGVM files of a COCONUT-SVSM build recipe.

    Makes a folder `<name>` that holds for every target of the recipe, under the name that the recipe gives it, the IGVM
    file, its launch digest (`.digest`, hex), the digest with its facts (`.digest.json`) and step by step (`.explain`).
    Platforms, policy, serial port, KVM check and native zeroes are the recipe's. A digest that KVM would not reach, where the
    recipe asks for the check, fails the build.

    Promises equal bytes for equal inputs: cargo, make, objcopy, `firmware.command` and `firmware.env` are not run and not
    read.

    Args:
      name: the target's name
      recipe: label of the recipe
      components: dict of the recipe's kernel components (`svsm`, `stage2` or `bldr`, `tdx-stage1`) to labels of the built
        files, already through objcopy
      modules: dict of the recipe's `fs.modules` to labels of the built files, already through objcopy
      firmware: label of the firmware; None to build without what the recipe names. A recipe that names firmware needs one
        of the two; one that names none takes no label
      hypervisors: targets of the recipe (`qemu`, `hyper-v`, `vanadium`) whose files are also targets of their own:
        `<name>.<hypervisor>.igvm`, `.digest`, `.digest.json` and `.explain`
      **kwargs: `layout`, `svsm_commit`, `allow_unknown_keys`, and what every rule has
    """
    _coconut_igvm(
        name = name,
        recipe = recipe,
        components = _by_label(components),
        modules = _by_label(modules),
        firmware = None if firmware == _UNSAID else firmware,
        without_firmware = firmware == None,
        images = ["%s.%s.%s" % (name, hypervisor, kind) for hypervisor in hypervisors for kind in _KINDS],
        **kwargs
    )
