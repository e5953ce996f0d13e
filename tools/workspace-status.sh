#!/bin/sh
# What Bazel's --workspace_status_command prints: the revision of the source, for cvm_release alone. No image depends on it.
# <commit>; <commit>-dirty with changes that no commit has, new files among them; unknown where git cannot say.
set -u
revision=unknown
# A copy of the source inside another checkout has no revision of its own.
if top=$(git rev-parse --show-toplevel 2>/dev/null) && [ "$top" = "$(pwd -P)" ] &&
  commit=$(git rev-parse --verify 'HEAD^{commit}' 2>/dev/null); then
  if ! changes=$(git status --porcelain --untracked-files=normal 2>/dev/null); then
    revision=unknown
  elif [ -n "$changes" ]; then
    revision=$commit-dirty
  else
    revision=$commit
  fi
fi
echo "STABLE_GIT_REVISION $revision"
