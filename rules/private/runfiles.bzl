"""Where a file stands below a runfiles folder."""

def runfiles_path(ctx, file):
    """Gives the path of a file below the runfiles root.

    Args:
      ctx: the rule context
      file: a File in the target's runfiles

    Returns:
      string: `<repository>/<path>`
    """
    if file.short_path.startswith("../"):
        return file.short_path[len("../"):]
    return ctx.workspace_name + "/" + file.short_path
