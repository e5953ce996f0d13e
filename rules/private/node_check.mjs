// Looks at a Node.js that is not the pinned one, before anything of ours runs on it. Run by cvm_node_toolchain. Nothing is imported
// that an old Node.js lacks.
import { writeFileSync } from 'node:fs';

const MAJOR = '24';
const ZSTD = '1.5.7';

const [label, marker] = process.argv.slice(2);
const { node, zstd = 'none' } = process.versions;
if (node.split('.')[0] !== MAJOR || zstd !== ZSTD) {
  console.error(`error NODE_VERSION the Node.js of ${label} makes other bytes than the pinned one, or none
  expected  Node.js ${MAJOR}, zstd ${ZSTD}
  found     Node.js ${node}, zstd ${zstd}
mend: give cvm_node_toolchain a Node.js ${MAJOR} as its makers release it`);
  process.exit(2);
}
writeFileSync(marker, `${node}\n`);
