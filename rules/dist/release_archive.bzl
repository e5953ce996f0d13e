"""What a release hands out: the rules with their bundles built, as one archive that is the same wherever it is made."""

load("//rules/private:run_cvm.bzl", "CVM_ATTRS", "CVM_TOOLCHAINS", "run_cvm")

def _release_archive_impl(ctx):
    top = "%s-%s" % (ctx.attr.module_name, ctx.attr.version)
    archive = ctx.actions.declare_file(top + ".tar.gz")
    places = {}
    for target, place in ctx.attr.renamed.items():
        files = target.files.to_list()
        if len(files) != 1:
            fail("%s: renamed[%s] must be one file, is %d" % (ctx.label, target.label, len(files)))
        places[files[0]] = place
    files = depset(places.keys() + [file for file in ctx.files.srcs if file.short_path not in places.values()])

    # Files in a folder that an action fills are known when it ran: both lists are worked out then.
    def place(file):
        return "%s/%s" % (top, places.get(file, file.short_path))

    def lines(file):
        path = place(file)
        folders = path.split("/")[:-1]
        return ["dir /%s 0755 0 0" % "/".join(folders[:depth + 1]) for depth in range(len(folders))] + [
            "file /%s %s 0644 0 0" % (path, path),
        ]

    def named(file):
        return "%s=%s" % (place(file), file.path)

    content = ctx.actions.args()
    content.set_param_file_format("multiline")
    content.add_all(files, map_each = lines, allow_closure = True, uniquify = True)
    listing = ctx.actions.declare_file(ctx.label.name + ".list")
    ctx.actions.write(listing, content)

    args = ctx.actions.args()
    args.add("--listing", listing)
    args.add_all(files, map_each = named, before_each = "--file", allow_closure = True)
    args.add("--gzip")
    args.add("--output", archive)
    run_cvm(
        ctx,
        noun = "tree",
        verb = "tar",
        progress = "Archiving",
        inputs = [listing] + files.to_list(),
        outputs = [archive],
        arguments = args,
    )
    return [DefaultInfo(files = depset([archive]))]

release_archive = rule(
    implementation = _release_archive_impl,
    attrs = dict(
        CVM_ATTRS,
        module_name = attr.string(mandatory = True, doc = "The module's name."),
        renamed = attr.label_keyed_string_dict(
            allow_files = True,
            doc = "Files with their paths in the archive, in the place of `srcs` that have the same.",
        ),
        srcs = attr.label_list(allow_files = True, doc = "Files that keep their paths in the workspace."),
        version = attr.string(mandatory = True, doc = "The module's version."),
    ),
    toolchains = CVM_TOOLCHAINS,
    doc = """Makes `<module_name>-<version>.tar.gz`, everything in a folder of that name without `.tar.gz`.

Promises equal bytes for equal inputs: owners are 0, modes 0644, times zero.""",
)
