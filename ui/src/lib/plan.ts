// A query's plan as the server tells it (`stats=all`): nodes in the order in which they were computed, each naming its inputs.

export interface PlanNode {
  title: string;
  /** Indices of the nodes it takes in. */
  inputs: number[];
  series: number;
  samples: number;
  seconds: number;
}
export interface PlanRow extends PlanNode {
  depth: number;
  /** Seconds without those of its inputs. */
  own: number;
}

/** The plan as a tree, the result first, every node below what takes it in. A node that several take in is shown with each; loops are cut. */
export function rows(nodes: readonly PlanNode[]): PlanRow[] {
  const taken = new Set(nodes.flatMap((node) => node.inputs));
  const roots = nodes.map((_, i) => i).filter((i) => !taken.has(i));
  const out: PlanRow[] = [];
  const walk = (i: number, depth: number, above: ReadonlySet<number>): void => {
    const node = nodes[i];
    if (!node || above.has(i) || out.length >= 1000) return;
    const inputs = node.inputs.reduce((sum, input) => sum + (nodes[input]?.seconds ?? 0), 0);
    out.push({ ...node, depth, own: Math.max(0, node.seconds - inputs) });
    for (const input of node.inputs) walk(input, depth + 1, new Set([...above, i]));
  };
  for (const root of roots.reverse()) walk(root, 0, new Set());
  return out;
}
