/** What is wrong with a GitHub workflow, by the rules that this repository's own obey. */
import { isMap, isScalar, isSeq, parseDocument, type Node, type Pair, type Scalar } from 'yaml';

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
type Mapping = Readonly<Record<string, Json>>;

const PINNED = /^[A-Za-z0-9-]+\/[A-Za-z0-9._/-]+@[0-9a-f]{40}$/;
const VERSION_COMMENT = /^ v[0-9]+\.[0-9]+\.[0-9]+$/;

/** Triggers under which code that a stranger wrote runs with the rights of this repository. */
const FOREIGN_TRIGGERS = ['pull_request_target', 'workflow_run', 'issue_comment', 'repository_dispatch'];

/** What an expression may name. Titles, branch names and messages are whatever their author wrote; none of them is here. */
const EXPRESSION =
  /^(matrix\.[a-z-]+|vars\.[A-Z_]+|secrets\.[A-Z_]+|runner\.temp|github\.(ref|sha|event_name|run_number))$/;

const WRITE_ACTIONS = ['actions/attest-build-provenance'];

/** Commands that would show an environment, or run what came over the network. */
const UNWANTED_COMMANDS: readonly (readonly [RegExp, string])[] = [
  [/\b(curl|wget)\b/, 'downloads by hand'],
  [/\bset -[a-z]*x|\bbash -[a-z]*x/, 'prints what it runs'],
  [/(^|[|;&]\s*|\n\s*)(env|printenv|export -p|declare -p|set)\s*($|[|;&\n])/, 'prints its environment'],
  [/\bnpx\b|\bnpm (i|install|ci|exec)\b/, 'brings packages around ./bazelw'],
  [/\bsudo\b(?! (sysctl|apt-get)\b)/, 'uses root for more than set-up'],
];

/**
 * Every finding, as `place: what is wrong`; none when the workflow is as it should be.
 * @param text the YAML of the workflow
 */
export function workflowFindings(text: string): string[] {
  const document = parseDocument(text, { prettyErrors: false, uniqueKeys: true });
  if (document.errors.length > 0) return document.errors.map((error) => `yaml: ${error.message}`);
  const workflow = document.toJS({ maxAliasCount: 0 }) as Mapping;
  const findings: string[] = [];
  const say = (place: string, what: string): void => void findings.push(`${place}: ${what}`);

  const triggers = Object.keys(mapping(workflow['on']));
  if (triggers.length === 0) say('on', 'triggers stand as a mapping');
  for (const trigger of triggers)
    if (FOREIGN_TRIGGERS.includes(trigger)) say('on', `${trigger} runs a stranger's code with our rights`);
  if (JSON.stringify(workflow['permissions']) !== '{}')
    say('permissions', 'are {} for the whole, given job by job');
  if (typeof mapping(workflow['concurrency'])['cancel-in-progress'] !== 'boolean')
    say('concurrency', 'has a group and says whether a newer run ends an older one');
  if (mapping(mapping(workflow['defaults'])['run'])['shell'] !== 'bash')
    say('defaults', 'shell is bash, which stops at the first command that fails, also in a pipe');

  for (const [name, job] of Object.entries(mapping(workflow['jobs'])))
    jobFindings(`jobs.${name}`, mapping(job), triggers, say);
  if (Object.keys(mapping(workflow['jobs'])).length === 0) say('jobs', 'there is none');
  for (const [place, action] of usesOf(document.contents)) {
    if (!PINNED.test(String(action.value)))
      say(place, `${String(action.value)} is not pinned by a full commit`);
    else if (!VERSION_COMMENT.test(action.comment ?? ''))
      say(place, 'a comment says which version the commit is');
  }
  for (const [place, value] of texts(workflow, '')) expressionFindings(place, value, say);
  return findings;
}

/** Labels that the workflow hands to ./bazelw, in order, each once. */
export function workflowTargets(text: string): string[] {
  const found = new Set<string>();
  for (const [place, value] of texts(parseDocument(text).toJS() as Mapping, '')) {
    if (!place.endsWith('.run')) continue;
    for (const [label] of value.matchAll(/(?<=^|\s)\/\/[^\s"'\\]+/gm)) found.add(label);
  }
  return [...found];
}

type Say = (place: string, what: string) => void;

function jobFindings(place: string, job: Mapping, triggers: readonly string[], say: Say): void {
  const minutes = job['timeout-minutes'];
  if (typeof minutes !== 'number' || minutes < 1 || minutes > 180) say(place, 'timeout-minutes is 1 to 180');
  if (!/^[a-z]+-[0-9][0-9.]*$/.test(textOf(job['runs-on'])))
    say(place, 'runs-on names a version, not the latest');
  if (job['container'] !== undefined || job['services'] !== undefined)
    say(place, 'runs in no image of others');
  const permissions = job['permissions'];
  if (permissions === undefined || permissions === null || typeof permissions !== 'object')
    say(place, 'permissions are listed');
  const writes = Object.entries(mapping(permissions)).filter(
    ([, value]) => value !== 'read' && value !== 'none',
  );
  const steps = (Array.isArray(job['steps']) ? job['steps'] : []).map(mapping);
  if (steps.length === 0) say(place, 'has no steps');
  if (writes.length > 0) {
    if (steps.some(({ run }) => run !== undefined)) say(place, 'may write, and runs commands');
    if (!steps.some(({ uses }) => WRITE_ACTIONS.includes(actionOf(uses))))
      say(place, 'may write, and need not');
  }
  if (JSON.stringify(job).includes('secrets.')) {
    if (job['environment'] === undefined) say(place, 'takes a secret outside an environment');
    if (triggers.includes('pull_request')) say(place, 'takes a secret where pull requests run');
  }
  if (JSON.stringify(job['env'] ?? {}).includes('secrets.')) say(place, 'gives a secret to every step');
  for (const [index, step] of steps.entries()) stepFindings(`${place}.steps.${index}`, step, say);
}

function stepFindings(place: string, step: Mapping, say: Say): void {
  const { run, uses } = step;
  if (typeof step['name'] !== 'string') say(place, 'has no name');
  if ((run === undefined) === (uses === undefined)) say(place, 'runs a command or uses an action');
  if (step['continue-on-error'] !== undefined) say(place, 'a failure counts');
  if (JSON.stringify(step['with'] ?? {}).includes('secrets.')) say(place, 'hands a secret to an action');
  if (actionOf(uses) === 'actions/checkout' && mapping(step['with'])['persist-credentials'] !== false)
    say(place, 'leaves its token in the checkout (persist-credentials: false)');
  if (typeof run !== 'string') return;
  // Text that an expression brings would be shell code; a variable of the environment is not.
  if (run.includes('${{')) say(place, 'has an expression in its command: give it by env');
  for (const [pattern, what] of UNWANTED_COMMANDS) if (pattern.test(run)) say(place, what);
  for (const [name, value] of Object.entries(mapping(step['env'])))
    if (textOf(value).includes('secrets.') && new RegExp(`\\$\\{?${name}\\b`).test(run))
      say(place, `puts the secret ${name} into its command, where a log or a process list shows it`);
}

function expressionFindings(place: string, text: string, say: Say): void {
  const expressions = [...text.matchAll(/\$\{\{(.*?)\}\}/gs)].map(([, inner]) => (inner ?? '').trim());
  for (const expression of expressions)
    if (!EXPRESSION.test(expression)) say(place, `the expression ${expression} is not one of those we know`);
  // `if` is an expression without its braces.
  if (/\.if$/.test(place) && !/^github\.event_name == '[a-z_]+'$/.test(text))
    say(place, 'compares the event alone');
  if (expressions.some((expression) => expression.startsWith('secrets.')) && !/\.env\.[A-Z_]+$/.test(place))
    say(place, 'a secret is the value of a variable, nothing else');
}

const textOf = (value: Json | undefined): string => (typeof value === 'string' ? value : '');

const actionOf = (uses: Json | undefined): string => textOf(uses).split('@')[0] ?? '';

function mapping(value: Json | undefined): Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Mapping) : {};
}

/** Every text of a document and the path to it. */
function* texts(value: Json, place: string): Generator<readonly [string, string]> {
  if (typeof value === 'string') yield [place, value];
  else if (typeof value === 'object' && value !== null)
    for (const [key, part] of Object.entries(value))
      yield* texts(part, place === '' ? key : `${place}.${key}`);
}

/** Every `uses`, as it stands in the text: its comment with it. */
function* usesOf(node: unknown, place = ''): Generator<readonly [string, Scalar]> {
  if (isMap(node)) {
    for (const pair of node.items as Pair<Node, Node>[]) {
      const key = isScalar(pair.key) ? String(pair.key.value) : '';
      if (key === 'uses' && isScalar(pair.value)) yield [`${place}.uses`, pair.value];
      else yield* usesOf(pair.value, place === '' ? key : `${place}.${key}`);
    }
  } else if (isSeq(node)) {
    for (const [index, item] of node.items.entries()) yield* usesOf(item, `${place}.${index}`);
  }
}
