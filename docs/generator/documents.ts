/** Which files of docs/ are generated, and from what: the command that writes them and the test that compares share this. */
import { COMMANDS } from '../../tools/commands/table.ts';
import { cliDocs } from './cli.ts';
import { flowSvg } from './flow-svg.ts';
import { readModuleInfo } from './module-info.ts';
import { rulesDocs } from './rules.ts';

/** What people write, by its path in docs/. */
export type Texts = (name: 'flow.txt' | 'generator/cli-frame.md' | 'generator/rules-frame.md') => string;

/** What Bazel's starlark_doc_extract wrote of a public .bzl file, by the name of its target. */
export type ModuleDocs = (name: 'defs' | 'extensions' | 'providers' | 'repositories') => Uint8Array;

/** Each file of docs/ that is generated, and its text. */
export async function documents(texts: Texts, modules: ModuleDocs): Promise<ReadonlyMap<string, string>> {
  return new Map([
    ['flow.svg', flowSvg(texts('flow.txt'))],
    ['cli.md', await cliDocs(COMMANDS, texts('generator/cli-frame.md'))],
    [
      'rules.md',
      rulesDocs(
        {
          defs: readModuleInfo(modules('defs')),
          extensions: readModuleInfo(modules('extensions')),
          providers: readModuleInfo(modules('providers')),
          repositories: readModuleInfo(modules('repositories')),
        },
        texts('generator/rules-frame.md'),
      ),
    ],
  ]);
}
