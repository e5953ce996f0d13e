import { formatError, type CvmError, type Fact } from '../errors.ts';
import { nearestWord } from '../nearest.ts';
import { memberPath, type JsonNode } from './json-text.ts';

/** Where the reading of a recipe happens and what becomes of unknown keys. */
export interface Reading {
  /** The recipe as errors name it. */
  readonly file: string;
  readonly allowUnknownKeys: boolean;
  /** Sentences for people, one a warning. */
  readonly warnings: string[];
}

/** A value of a recipe with the way to it: `$.igvm["hyper-v"].platforms[0]`. */
export interface At {
  readonly path: string;
  readonly node: JsonNode;
}

/** A place as errors name it: JSON path, line and column. */
export function placeOf({ path, node }: At): string {
  return `${path} (line ${node.line} column ${node.column})`;
}

/** An error of a recipe: file, JSON path and place first. */
export function recipeError(
  { file }: Pick<Reading, 'file'>,
  at: At,
  code: string,
  message: string,
  details: { facts?: readonly Fact[]; nearest?: string | undefined; mend: string },
): CvmError {
  return formatError(code, message, {
    facts: [['recipe', file], ['at', placeOf(at)], ...(details.facts ?? [])],
    ...(details.nearest === undefined ? {} : { nearest: details.nearest }),
    mend: details.mend,
  });
}

/** What a value is, for an error: text shortened, structures by their kind. */
export function describe(node: JsonNode): string {
  switch (node.type) {
    case 'string':
      return JSON.stringify(node.text.length > 80 ? `${node.text.slice(0, 80)}…` : node.text);
    case 'number':
      return node.text.slice(0, 80);
    case 'boolean':
      return `${node.value}`;
    case 'object':
      return 'an object';
    case 'array':
      return 'an array';
    case 'null':
      return 'null';
  }
}

/** @throws CvmError format RECIPE_TYPE */
export function expectMembers(reading: Reading, at: At): { key: string; at: At }[] {
  if (at.node.type !== 'object') throw wrongType(reading, at, 'an object', 'write it in braces: { … }');
  return at.node.members.map(({ key, value }) => ({
    key,
    at: { path: memberPath(at.path, key), node: value },
  }));
}

/**
 * The known members of an object. An unknown one is an error that names the nearest key, or a warning where the reading
 * allows it: both build programs of upstream ignore it.
 * @throws CvmError format RECIPE_TYPE | RECIPE_KEY_UNKNOWN
 */
export function knownMembers<Key extends string>(
  reading: Reading,
  at: At,
  known: readonly Key[],
): Partial<Record<Key, At>> {
  const found: Partial<Record<Key, At>> = {};
  for (const member of expectMembers(reading, at)) {
    const key = known.find((candidate) => candidate === member.key);
    if (key === undefined) unknownKey(reading, member.at, member.key, known);
    else found[key] = member.at;
  }
  return found;
}

function unknownKey(reading: Reading, at: At, key: string, known: readonly string[]): void {
  const nearest = nearestWord(key, known);
  if (reading.allowUnknownKeys) {
    const hint = nearest === undefined ? '' : `; the nearest known key is ${nearest}`;
    reading.warnings.push(`${reading.file}: ${at.path} is no key of a recipe and is ignored${hint}`);
    return;
  }
  throw recipeError(reading, at, 'RECIPE_KEY_UNKNOWN', 'a recipe has a key that means nothing', {
    facts: [
      ['key', key],
      ['known here', known.join(', ')],
    ],
    nearest,
    mend: `${nearest === undefined ? 'remove it' : `write ${nearest}`}, or give --allow-unknown-keys to ignore it as upstream does`,
  });
}

/** @throws CvmError format RECIPE_TYPE */
export function expectText(reading: Reading, at: At | undefined): string | undefined {
  if (at === undefined) return undefined;
  if (at.node.type !== 'string') throw wrongType(reading, at, 'a string', 'write it in double quotes');
  if (at.node.text.includes('\0')) {
    throw recipeError(reading, at, 'RECIPE_TEXT', 'a text of a recipe holds a NUL character', {
      mend: 'remove it: no file name, argument or variable can hold one',
    });
  }
  return at.node.text;
}

/** @throws CvmError format RECIPE_TYPE */
export function expectFlag(reading: Reading, at: At | undefined): boolean | undefined {
  if (at === undefined) return undefined;
  if (at.node.type !== 'boolean')
    throw wrongType(reading, at, 'true or false', 'write true or false without quotes');
  return at.node.value;
}

/** @throws CvmError format RECIPE_TYPE */
export function expectItems(reading: Reading, at: At): At[] {
  if (at.node.type !== 'array') throw wrongType(reading, at, 'an array', 'write it in brackets: [ … ]');
  return at.node.items.map((node, i) => ({ path: `${at.path}[${i}]`, node }));
}

/** One of a few words. @throws CvmError format RECIPE_TYPE, and `code` for a word that is none of them */
export function expectChoice<Word extends string>(
  reading: Reading,
  at: At,
  words: readonly Word[],
  code: string,
  message: string,
): Word {
  const text = expectText(reading, at);
  const word = words.find((candidate) => candidate === text);
  if (word !== undefined) return word;
  const nearest = nearestWord(text ?? '', words);
  throw recipeError(reading, at, code, message, {
    facts: [
      ['found', describe(at.node)],
      ['known', words.join(', ')],
    ],
    nearest,
    mend: `write ${nearest ?? 'one of the known words'}`,
  });
}

export function wrongType(reading: Reading, at: At, expected: string, mend: string): CvmError {
  return recipeError(reading, at, 'RECIPE_TYPE', 'a value of a recipe has the wrong type', {
    facts: [
      ['expected', expected],
      ['found', describe(at.node)],
    ],
    mend,
  });
}
