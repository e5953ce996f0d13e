"""A rule of your own over what rules_cvm hands on."""

load("@rules_cvm//rules:defs.bzl", "CvmUpdateImageInfo")

def _image_report_impl(ctx):
    image = ctx.attr.image[CvmUpdateImageInfo]
    report = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(report, "%s is for the %s network\n" % (image.image.basename, image.network))
    return [DefaultInfo(files = depset([report]))]

image_report = rule(
    implementation = _image_report_impl,
    attrs = {"image": attr.label(mandatory = True, providers = [CvmUpdateImageInfo])},
)
