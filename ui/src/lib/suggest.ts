// First queries to offer, chosen by which metrics exist.
export interface Suggestion {
  title: string;
  expr: string;
  /** The metric that must exist. */
  needs: string;
}
const ALL: Suggestion[] = [
  { title: 'CPU in use', needs: 'node_cpu_seconds_total', expr: '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[1m]))' },
  { title: 'CPU by mode', needs: 'node_cpu_seconds_total', expr: 'sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[1m]))' },
  { title: 'Memory in use', needs: 'node_memory_MemAvailable_bytes', expr: 'node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes' },
  { title: 'Load, 1 minute', needs: 'node_load1', expr: 'node_load1' },
  { title: 'Network in', needs: 'node_network_receive_bytes_total', expr: 'sum by (instance, device) (rate(node_network_receive_bytes_total{device!="lo"}[1m]))' },
  { title: 'Disk busy', needs: 'node_disk_io_time_seconds_total', expr: 'rate(node_disk_io_time_seconds_total[1m])' },
  { title: 'File systems, free', needs: 'node_filesystem_avail_bytes', expr: 'node_filesystem_avail_bytes / node_filesystem_size_bytes' },
  { title: 'Targets that are down', needs: 'up', expr: 'up == 0' },
  { title: 'Scrape duration', needs: 'scrape_duration_seconds', expr: 'scrape_duration_seconds' },
];
/** Those whose metric is stored, at most `limit`. */
export function suggestions(names: ReadonlySet<string>, limit = 8): Suggestion[] {
  return ALL.filter((item) => names.has(item.needs)).slice(0, limit);
}
/** How a metric of this type is best looked at first. */
export function firstQuery(name: string, type: string): string {
  if (type === 'counter' || /_total$/.test(name)) return `rate(${name}[5m])`;
  if (/_bucket$/.test(name)) return `histogram_quantile(0.99, sum by (le) (rate(${name}[5m])))`;
  if (/_(sum|count)$/.test(name) && (type === 'histogram' || type === 'summary')) return `rate(${name}[5m])`;
  if (type === 'histogram') return `histogram_quantile(0.99, rate(${name}[5m]))`;
  return name;
}
