// The topology in the four levels that the map draws: region › data centre › row › rack, whatever the server's levels are called.
import type { Topology, TopoNode } from './codec.ts';

export interface Rack {
  id: number;
  name: string;
  first: number;
  used: number;
  slots: number;
}
export interface Row {
  /** '' when the row was made up to fill a block. */
  name: string;
  racks: Rack[];
}
export interface Hall {
  /** The data centre (or cluster, zone, job). */
  name: string;
  region: number;
  first: number;
  servers: number;
  rows: Row[];
  /** Rows are real places, so vertical neighbours mean something. */
  floor: boolean;
}
export interface Tree {
  regions: { name: string; halls: number[] }[];
  halls: Hall[];
  racks: number;
  servers: number;
}

/** Leaves that the server made up are as large as they are full: their holes mean nothing. */
const rack = (node: TopoNode, synthetic: boolean): Rack => ({ id: node.rack, name: node.name, first: node.first, used: node.servers, slots: synthetic ? node.servers : node.slots });

/** Racks side by side in rows so that the block is about twice as wide as high. */
function wrap(racks: Rack[]): Row[] {
  const per = Math.max(1, Math.ceil(Math.sqrt((racks.length * 11 * 2) / 4)));
  const rows: Row[] = [];
  for (let i = 0; i < racks.length; i += per) rows.push({ name: '', racks: racks.slice(i, i + per) });
  return rows;
}

export function tree(topology: Topology): Tree {
  const depth = topology.levels.length;
  const hasRows = depth >= 3 || topology.levels[depth - 2] === 'row';
  const hallDepth = Math.max(0, hasRows ? depth - 2 : depth - 1);
  const out: Tree = { regions: [], halls: [], racks: topology.racks, servers: topology.servers };

  const leaf = (node: TopoNode): Rack => rack(node, topology.syntheticLeaves);
  const hall = (node: Pick<TopoNode, 'name' | 'first' | 'servers' | 'children'>, region: number): void => {
    const rows = hasRows ? node.children.map((row) => ({ name: row.name, racks: row.children.map(leaf) })) : wrap(node.children.map(leaf));
    out.regions[region]?.halls.push(out.halls.length);
    out.halls.push({ name: node.name, region, first: node.first, servers: node.servers, rows, floor: hasRows && !topology.noFloor });
  };
  const open = (name: string): number => out.regions.push({ name, halls: [] }) - 1;
  /** Everything above the level before the halls becomes the region's name. */
  const walk = (nodes: TopoNode[], level: number, path: string[]): void => {
    if (level === hallDepth) {
      const region = open(path.join(' / '));
      for (const node of nodes) hall(node, region);
      return;
    }
    for (const node of nodes) walk(node.children, level + 1, [...path, node.name]);
  };
  if (hallDepth === 0) hall({ name: '', first: 0, servers: topology.servers, children: topology.roots }, open(''));
  else walk(topology.roots, 1, []);
  return out;
}
