/** docs/rules.md: what the docstrings of the public .bzl files say, in a frame that people write. */
import { fillFrame, paragraph, table, textCell } from './markdown.ts';
import type {
  AttributeInfo,
  ExtensionInfo,
  FunctionInfo,
  ModuleInfo,
  ProviderInfo,
  RuleInfo,
} from './module-info.ts';

/** The public .bzl files, as Bazel describes them. */
export interface RuleModules {
  readonly defs: ModuleInfo;
  readonly extensions: ModuleInfo;
  readonly providers: ModuleInfo;
  readonly repositories: ModuleInfo;
}

/** The reference of rules, macros, providers and doors, as Markdown. */
export function rulesDocs(modules: RuleModules, frame: string): string {
  const { defs, providers, repositories, extensions } = modules;
  const rules = [
    ...defs.rules.map((rule) => ({ ...rule, text: ruleDocs(rule) })),
    ...defs.functions.map((macro) => ({ ...macro, text: functionDocs(macro, '##') })),
  ].sort((a, b) => (a.name < b.name ? -1 : 1));
  return fillFrame(frame, {
    index: table(
      ['rule', 'what it does'],
      rules.map(({ name, doc }) => [`[${name}](#${name})`, textCell(firstSentence(doc))]),
    ),
    rules: rules.map(({ text }) => text).join('\n'),
    providers: providers.providers
      .map((provider) => providerDocs(provider, constructorOf(provider, providers.functions)))
      .join('\n'),
    doors: [
      ...extensions.extensions.map(extensionDocs),
      ...repositories.functions.map((macro) => functionDocs(macro)),
    ].join('\n'),
  });
}

function ruleDocs({ name, doc, attributes, isTest, isExecutable }: RuleInfo): string {
  const how = isTest ? '\n\nRuns with `bazel test`.' : isExecutable ? '\n\nRuns with `bazel run`.' : '';
  return `## ${name}\n\n${paragraphs(doc)}${how}\n${attributeTable(attributes)}`;
}

function attributeTable(attributes: readonly AttributeInfo[]): string {
  const rows = attributes
    .filter(({ name }) => name !== 'name')
    .map(({ name, type, providers, doc, isMandatory, defaultValue }) => [
      `\`${name}\``,
      providers.length === 0
        ? type
        : `${type} (${providers.map((provider) => `\`${provider}\``).join(', ')})`,
      howGiven({ isMandatory, defaultValue }),
      textCell(doc),
    ]);
  return rows.length === 0 ? '' : `\n${table(['attribute', 'type', 'default', 'meaning'], rows)}`;
}

interface Given {
  readonly isMandatory: boolean;
  readonly defaultValue: string;
}

/** Macros here have `**kwargs` and no `*args`. */
const takesTheRest = ({ isMandatory, defaultValue }: Given): boolean => !isMandatory && defaultValue === '';

function howGiven(given: Given): string {
  if (given.isMandatory) return '**required**';
  return takesTheRest(given) ? '' : `\`${given.defaultValue}\``;
}

function functionDocs({ name, doc, parameters, returns }: FunctionInfo, heading = '###'): string {
  const rows = parameters.map((parameter) => [
    `\`${takesTheRest(parameter) ? '**' : ''}${parameter.name}\``,
    howGiven(parameter),
    textCell(parameter.doc),
  ]);
  const list = rows.length === 0 ? '' : `\n${table(['argument', 'default', 'meaning'], rows)}`;
  return `${heading} ${name}\n\n${paragraphs(doc)}\n${list}${returns === '' ? '' : `\nReturns ${textCell(returns)}.\n`}`;
}

function constructorOf(provider: ProviderInfo, functions: readonly FunctionInfo[]): string | undefined {
  const wanted = provider.name.replace(/(?<!^)([A-Z])/g, '_$1').toLowerCase();
  return functions.find(({ name }) => name === wanted)?.name;
}

function providerDocs({ name, doc, fields }: ProviderInfo, maker: string | undefined): string {
  const rows = fields.map((field) => [`\`${field.name}\``, textCell(field.doc)]);
  const made = maker === undefined ? '' : ` Built with \`${maker}\`.`;
  return `### ${name}\n\n${paragraphs(doc)}${made}\n\n${table(['field', 'meaning'], rows)}`;
}

function extensionDocs({ name, doc, tags }: ExtensionInfo): string {
  const parts = tags.map(
    (tag) => `\n\`${name}.${tag.name}(…)\`: ${paragraphs(tag.doc)}\n${attributeTable(tag.attributes)}`,
  );
  return `### ${name}\n\n\`use_extension("@rules_cvm//rules:extensions.bzl", "${name}")\`: ${paragraphs(doc)}\n${parts.join('')}`;
}

/** A docstring's paragraphs as Markdown's: each on one line, whatever the source's line length. */
const paragraphs = (doc: string): string =>
  doc
    .trim()
    .split(/\n\s*\n/)
    .map(paragraph)
    .join('\n\n');

/** The summary line of a docstring, without its full stop. */
const firstSentence = (doc: string): string => (doc.trim().split('\n')[0] ?? '').replace(/\.$/, '');
