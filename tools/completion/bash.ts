import { type CompletableCommand, each, quoted, secondWords } from './commands.ts';

/**
 * Completion for bash 3.2 and newer. Everything that can follow stands in the script, so that a key press starts no
 * program. File names are left to readline (`-o default`), which knows how to quote them.
 */
export function bashCompletion(name: string, commands: readonly CompletableCommand[]): string {
  const shell = `_${name.replaceAll('-', '_')}`;
  const nouns = each(commands.map(({ words }) => words[0] ?? ''));
  const verbs = nouns.map((noun) =>
    branch(
      quoted(noun),
      `offered=${quoted(
        each(commands.filter(({ words }) => words[0] === noun).map(({ words }) => words[1] ?? '')).join(' '),
      )}`,
    ),
  );
  const seconds = [...secondWords(commands)].map(([first, found]) =>
    branch(quoted(first), `offered=${quoted(found.map(({ words }) => words[2] ?? '').join(' '))}`),
  );
  const threes = commands
    .filter(({ words }) => words.length === 3)
    .map(({ words }) => quoted(words.join(' ')));
  return `# bash completion for ${name}. In ~/.bashrc: source <(${name} completion bash)

${shell}() {
  local at=$COMP_CWORD current flag offered= flags= files= values= operand= lead=
  # Bash cuts words at = and :, so --mode=snp:svsm is five of them.
  current=\${COMP_WORDS[at]}
  while ((at > 1)) && [[ \${COMP_WORDS[at]} == : || \${COMP_WORDS[at - 1]} == : ]]; do
    current=\${COMP_WORDS[--at]}$current
  done
  if [[ $current == = ]]; then
    flag=\${COMP_WORDS[at - 1]} current=
  elif ((at > 1)) && [[ \${COMP_WORDS[at - 1]} == = ]]; then
    flag=\${COMP_WORDS[at - 2]}
  elif [[ $current == --*=* ]]; then
    flag=\${current%%=*} lead=\${current%%=*}= current=\${current#*=}
  else
    flag=\${COMP_WORDS[at - 1]}
  fi

  local command="\${COMP_WORDS[1]} \${COMP_WORDS[2]}"
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    offered=${quoted([...nouns, '--help', '--version'].join(' '))}
  elif ((COMP_CWORD == 2)); then
    case \${COMP_WORDS[1]} in
${verbs.join('')}    esac
  else
    if ((COMP_CWORD == 3)); then
      case $command in
${indent(seconds)}      esac
    fi
    case "$command \${COMP_WORDS[3]}" in
${threes.length === 0 ? '' : `      ${threes.join(' | ')}) ((COMP_CWORD > 3)) && command+=" \${COMP_WORDS[3]}" ;;\n`}    esac
    case $command in
${commands.map(commandBranch).join('')}    esac
    if [[ " $files $values " == *" $flag "* ]]; then
      # A value: readline offers files, or the words are known, or nobody knows.
      offered=
      case "$command $flag" in
${indent(commands.flatMap(valueBranches))}      esac
      if [[ -z $offered && " $files " != *" $flag "* ]]; then
        compopt +o default +o bashdefault 2>/dev/null
        return
      fi
    elif [[ $current == -* ]]; then
      offered=$flags
    elif [[ -z $offered && -z $operand ]]; then
      offered=$flags
    fi
  fi
  [[ -n $offered ]] || return
  # Where bash cut at a colon, it replaces what comes after it only.
  local cut=
  [[ $current != *:* || $COMP_WORDBREAKS != *:* ]] || cut=\${current%"\${current##*:}"}
  local word
  for word in $offered; do
    [[ $word == "$current"* ]] && COMPREPLY+=("$lead\${word#"$cut"}")
  done
  compopt +o default +o bashdefault 2>/dev/null
}
complete -o bashdefault -o default -F ${shell} ${name}
`;
}

const branch = (pattern: string, body: string): string => `      ${pattern}) ${body} ;;\n`;

const indent = (branches: readonly string[]): string => branches.map((line) => `  ${line}`).join('');

function commandBranch({ words, options, takesFiles }: CompletableCommand): string {
  const names = (wanted: typeof options): string =>
    quoted(wanted.flatMap((option) => option.names).join(' '));
  const parts = [
    `flags=${quoted([...options.flatMap((option) => option.names), '--help'].join(' '))}`,
    `files=${names(options.filter(({ value }) => value?.isFile === true))}`,
    `values=${names(options.filter(({ value }) => value?.isFile === false))}`,
    ...(takesFiles ? ['operand=file'] : []),
  ];
  return branch(quoted(words.join(' ')), parts.join(' '));
}

function valueBranches({ words, options }: CompletableCommand): string[] {
  return options
    .filter(({ value }) => value !== undefined && value.words.length > 0)
    .map(({ names, value }) =>
      branch(
        names.map((name) => quoted([...words, name].join(' '))).join(' | '),
        `offered=${quoted((value?.words ?? []).join(' '))}`,
      ),
    );
}
