import tseslint from 'typescript-eslint';

/** Which folders a folder may import from, besides itself and packages: imports point down. */
const FORBIDDEN_IN_FORMATS = [
  'node:fs',
  'node:fs/promises',
  'node:net',
  'node:http',
  'node:https',
  'node:tls',
  'node:dgram',
  'node:child_process',
  'node:os',
  'node:process',
  'fs',
  'net',
  'http',
  'https',
];

/** A date may be shown; what time it is may not be asked. */
const CLOCKS = [
  {
    selector: "MemberExpression[object.name='Date'][property.name='now']",
    message: 'Bytes depend on no clock.',
  },
  { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: 'Bytes depend on no clock.' },
];

export default tseslint.config(
  { ignores: ['node_modules/', 'bazel-*/'] },
  {
    files: ['tools/**/*.ts', 'test/**/*.ts', 'docs/**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Numbers in messages are wanted; everything else has to be made text on purpose.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      // tsconfig's noPropertyAccessFromIndexSignature asks for the opposite.
      '@typescript-eslint/dot-notation': 'off',
      eqeqeq: ['error', 'always'],
      'no-console': 'error',
    },
  },
  {
    // A format is a pure function over bytes.
    files: ['tools/**/*.ts'],
    ignores: ['tools/commands/**', 'tools/update/**', 'tools/cvm.ts', 'tools/cvm-main.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        { paths: FORBIDDEN_IN_FORMATS, patterns: ['**/commands/*', '!./commands/*', '**/update/*'] },
      ],
      'no-restricted-globals': ['error', 'process', 'fetch', 'setTimeout', 'setInterval', 'performance'],
      'no-restricted-syntax': ['error', ...CLOCKS],
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random' },
        { object: 'globalThis', property: 'process' },
      ],
    },
  },
  {
    // Only downloads open sockets, and only the front knows the process.
    files: ['tools/commands/**/*.ts'],
    rules: {
      'no-restricted-globals': ['error', 'process', 'fetch', 'performance'],
      'no-restricted-syntax': ['error', ...CLOCKS],
      'no-restricted-imports': [
        'error',
        { paths: ['node:net', 'node:http', 'node:https', 'node:tls', 'node:dgram', 'node:process'] },
      ],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      // vitest's matchers are typed as any.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      'no-console': 'off',
    },
  },
);
