/**
 * What Bazel 8 and 9 took out of Starlark, and whether a file uses it.
 *
 * Sources: Bazel's release notes for 8.0 and 9.0 (language rules and their providers moved to rules_cc, rules_java, rules_python,
 * rules_shell, rules_android and protobuf; WORKSPACE and native repository rules gone), the table of
 * `--incompatible_autoload_externally` (bazelbuild/bazel#23043), and the issues named beside the patterns.
 */
interface Removal {
  readonly pattern: RegExp;
  readonly what: string;
  /** Whether a `load` of that name makes it another thing. */
  readonly loadable?: boolean;
  /** Whether WORKSPACE files may have it: no Bazel that reads those took it away. */
  readonly inWorkspace?: boolean;
}

const REMOVALS: readonly Removal[] = [
  {
    pattern:
      /\b(?:native\.)?((?:cc|java|py|sh|proto|android|objc|aar|apple|j2objc|fdo|propeller)_[a-z_]+|xcode_[a-z_]+)\s*\(/g,
    what: 'a language rule, which has to be loaded from its own repository',
    loadable: true,
  },
  {
    pattern:
      /\b((?:Cc|Java|Py|Proto|Apple|Objc|Android|Proguard|DebugPackage|CcToolchainConfig|CcSharedLibrary)[A-Za-z]*(?:Info|Provider)|(?:cc|java|proto|py|apple|coverage|android)_common|proto_common_do_not_use)\b(?!["'])/g,
    what: 'a language provider or module, which has to be loaded from its own repository',
    loadable: true,
  },
  {
    pattern:
      /\b(?:native\.)?(local_repository|new_local_repository|http_archive|http_file|http_jar|git_repository|new_git_repository|maven_jar|local_config_platform)\s*\(/g,
    what: 'a native repository rule (bazelbuild/bazel#22080): load it from @bazel_tools//tools/build_defs/repo',
    loadable: true,
    inWorkspace: true,
  },
  {
    pattern: /\bnative\.(bind|register_toolchains|register_execution_platforms|repository_name)\b/g,
    what: 'a function of WORKSPACE macros',
  },
  { pattern: /^bind\s*\(/gm, what: 'bind, which went with WORKSPACE' },
  { pattern: /@local_config_platform\b/g, what: '@local_config_platform: the host is @platforms//host' },
  { pattern: /@bazel_tools\/\/platforms\b/g, what: 'constraints of @bazel_tools: they are in @platforms' },
  {
    pattern: /@bazel_tools\/\/tools\/(?:android|jdk|python|proto|sh|cpp)\b/g,
    what: 'language tools of @bazel_tools',
  },
  {
    pattern: /\bincompatible_use_toolchain_transition\b/g,
    what: 'a parameter of rule() without an effect, gone',
  },
  {
    pattern: /\b(copy_from_rule|execution_platform_constraints_allowed|output_to_genfiles)\s*=/g,
    what: 'a parameter that is gone or about to be',
  },
  {
    pattern: /\bcfg\s*=\s*["'](?:host|data)["']/g,
    what: 'a configuration that does not exist: "exec", or none',
  },
  {
    pattern:
      /\bctx\.(?:host_configuration|host_fragments|new_file|file_action|template_action|empty_action|resolve_command)\b/g,
    what: 'a function of ctx that is gone',
  },
  {
    pattern: /\bctx\.fragments\.(?:py|bazel_py|java|cpp|apple|proto|android)\b/g,
    what: 'a configuration fragment of a language (bazelbuild/bazel#27079, #27080)',
  },
  { pattern: /\bctx\.outputs\.executable\b/g, what: 'an output that a rule has to declare itself' },
  {
    pattern: /\brelative_to_caller_repository\b|\.relative\s*\(/g,
    what: 'Label.relative: native.package_relative_label, or Label()',
  },
  { pattern: /\.to_(?:json|proto)\s*\(/g, what: 'methods of structs: json.encode, proto.encode_text' },
  {
    pattern: /\battr\.license\b|\bsingle_file\s*=/g,
    what: 'an attribute kind that is gone',
  },
  {
    pattern: /^def \w*impl\s*\(ctx\):(?:(?!\ndef )[\s\S])*?\breturn\s+struct\s*\(/gm,
    what: 'a struct instead of providers (bazelbuild/bazel#7347)',
  },
];

/** Flags of .bazelrc that newer Bazels refuse, or that hold on to what is gone. */
const FLAG_REMOVALS: readonly Removal[] = [
  {
    pattern:
      /--(?:no)?incompatible_(?:use_toolchain_transition|disable_starlark_host_transitions|enable_cc_toolchain_resolution|struct_has_no_methods|disallow_struct_provider_syntax)\b/g,
    what: 'a flag that is gone',
  },
  { pattern: /--incompatible_autoload_externally\b/g, what: 'loads that nobody wrote' },
  {
    pattern: /--(?:host_)?(?:java_toolchain|javabase|crosstool_top|python_path)\b/g,
    what: 'a flag from before platforms',
  },
  {
    pattern:
      /--experimental_(?:enable_bzlmod|build_setting_api|starlark_config_transitions|remote_download_outputs)\b/g,
    what: 'a flag that is gone',
  },
];

/**
 * Every use of what is gone, as `line: what`.
 * @param text of a .bzl, BUILD, MODULE or WORKSPACE file
 * @param isWorkspace whether it is the last
 */
export function removedStarlark(text: string, isWorkspace = false): string[] {
  const code = text.replaceAll(/^\s*#.*$/gm, '').replaceAll(/(\s)#[^"'\n]*$/gm, '$1');
  const loaded = new Set<string>();
  for (const [, names = ''] of code.matchAll(/^load\(\s*["'][^"']+["'],([^)]*)\)/gm))
    for (const [, alias, name = ''] of names.matchAll(/(?:([A-Za-z_]\w*)\s*=\s*)?["'](\w+)["']/g))
      loaded.add(alias ?? name);
  const removals = isWorkspace ? REMOVALS.filter(({ inWorkspace }) => inWorkspace !== true) : REMOVALS;
  return find(code, removals, (name) => loaded.has(name));
}

/** The same for a .bazelrc. */
export function removedFlags(text: string): string[] {
  return find(text.replaceAll(/^\s*#.*$/gm, ''), FLAG_REMOVALS, () => false);
}

function find(code: string, removals: readonly Removal[], isLoaded: (name: string) => boolean): string[] {
  const findings: string[] = [];
  for (const { pattern, what, loadable } of removals) {
    for (const match of code.matchAll(pattern)) {
      const name = match[1] ?? match[0].trim();
      if (loadable === true && !match[0].startsWith('native.') && (isLoaded(name) || isOwn(code, name)))
        continue;
      if (isLoadLine(code, match.index)) continue;
      findings.push(`line ${code.slice(0, match.index).split('\n').length}: ${shown(match[0])}: ${what}`);
    }
  }
  return findings;
}

/** Whether the file defines a thing of this name itself. */
const isOwn = (code: string, name: string): boolean =>
  new RegExp(`^(?:def ${name}\\s*\\(|${name}\\s*=)`, 'm').test(code);

/** Whether a place is inside a `load`, whose names are those of another file. */
function isLoadLine(code: string, index: number): boolean {
  const start = code.lastIndexOf('\nload(', index);
  const from = start < 0 && code.startsWith('load(') ? 0 : start;
  if (from < 0) return false;
  const end = code.indexOf(')', from);
  return index < end && !/@bazel_tools\/\/|@local_config/.test(code.slice(index, index + 40));
}

/** The use itself: the last line of a longer match. */
const shown = (match: string): string => match.trim().split('\n').at(-1)?.trim() ?? '';
