import {
  type CompletableCommand,
  type CompletableOption,
  type CompletableValue,
  each,
  quoted,
  secondWords,
} from './commands.ts';

/** Completion for zsh, with what every word means. A key press starts no program. */
export function zshCompletion(name: string, commands: readonly CompletableCommand[]): string {
  const shell = `_${name.replaceAll('-', '_')}`;
  const nouns = each(commands.map(({ words }) => words[0] ?? ''));
  const verbsOf = (noun: string): string[] => {
    const mine = commands.filter(({ words }) => words[0] === noun);
    return each(mine.map(({ words }) => words[1] ?? '')).map((verb) => {
      const found = mine.filter(({ words }) => words[1] === verb);
      const seconds = found.flatMap(({ words }) => words.slice(2));
      return described(verb, found.length === 1 ? (found[0]?.summary ?? '') : seconds.join(', '));
    });
  };
  const entries = (pattern: string, list: readonly string[]): string =>
    `      ${quoted(pattern)}) entries=(${list.join(' ')}) ;;\n`;
  const seconds = [...secondWords(commands)];
  const threes = commands
    .filter(({ words }) => words.length === 3)
    .map(({ words }) => quoted(words.join(' ')));
  return `#compdef ${name}
# zsh completion for ${name}. In ~/.zshrc, after compinit: source <(${name} completion zsh)

${shell}() {
  local -a entries
  local command skip=2
  if ((CURRENT == 2)); then
    entries=(${nouns
      .map((noun) => described(noun, verbNames(commands, noun)))
      .join(' ')} '--help:all nouns and verbs' '--version:the version')
    _describe -t nouns noun entries
    return
  fi
  if ((CURRENT == 3)); then
    case $words[2] in
${nouns.map((noun) => entries(noun, verbsOf(noun))).join('')}    esac
    _describe -t verbs verb entries
    return
  fi
  command="$words[2] $words[3]"
  if ((CURRENT == 4)); then
    case $command in
${seconds
  .map(([first, found]) =>
    entries(
      first,
      found.map(({ words, summary }) => described(words[2] ?? '', summary)),
    ),
  )
  .join('')}    esac
    (($#entries)) && _describe -t verbs verb entries
  else
    case "$command $words[4]" in
${threes.length === 0 ? '' : `      ${threes.join(' | ')}) command="$command $words[4]" skip=3 ;;\n`}    esac
  fi
  shift $skip words
  ((CURRENT -= skip))
  case $command in
${commands.map(commandBranch).join('')}  esac
}
if [[ $funcstack[1] == ${shell} ]]; then
  ${shell} "$@"
else
  compdef ${shell} ${name}
fi
`;
}

const verbNames = (commands: readonly CompletableCommand[], noun: string): string =>
  each(commands.filter(({ words }) => words[0] === noun).map(({ words }) => words[1] ?? '')).join(', ');

/** A word and what it means, as `_describe` takes it. */
const described = (word: string, meaning: string): string =>
  quoted(`${word.replaceAll(':', '\\:')}:${meaning}`);

function commandBranch({ words, options, takesFiles }: CompletableCommand): string {
  const specs = [
    ...options.flatMap(optionSpecs),
    quoted('--help[show what it takes]'),
    ...(takesFiles ? [quoted('*:file:_files')] : []),
  ];
  return `    ${quoted(words.join(' '))})\n      _arguments ${specs.join(' \\\n        ')}\n      ;;\n`;
}

/** What `_arguments` takes for an option: a spec for each of its names, of which one excludes the others. */
function optionSpecs({ names, description, value, isRepeatable }: CompletableOption): string[] {
  return names.map((name) => {
    const before = isRepeatable ? '*' : names.length > 1 ? `(${names.join(' ')})` : '';
    // `--flag value` and `--flag=value`.
    const equals = value !== undefined && name.startsWith('--') ? '=' : '';
    const meaning = description.replaceAll(/[\\\\[\\]]/g, '\\$&');
    return quoted(`${before}${name}${equals}[${meaning}]${value === undefined ? '' : valueSpec(value)}`);
  });
}

function valueSpec({ name, isFile, words }: CompletableValue): string {
  const message = name.replaceAll(':', '\\:');
  if (words.length > 0) return `:${message}:(${words.join(' ').replaceAll(':', '\\:')})`;
  return `:${message}:${isFile ? '_files' : ' '}`;
}
