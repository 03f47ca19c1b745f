// The charts of one server, from node_exporter's metric names.
import type { Unit } from './format.ts';
import { selector, type Labels } from './labels.ts';

export interface HostChart {
  title: string;
  expr: string;
  unit?: Unit;
  stack?: boolean;
  max?: number;
}

/** Groups of charts for the server that `labels` select. */
export function hostCharts(labels: Labels): { title: string; charts: HostChart[] }[] {
  const inner = selector(labels).slice(1, -1);
  const s = (metric: string, more = ''): string => `${metric}{${[inner, more].filter(Boolean).join(', ')}}`;
  const rate = (metric: string, more = ''): string => `rate(${s(metric, more)}[1m])`;
  return [
    {
      title: 'Processor and memory',
      charts: [
        { title: 'CPU by mode', expr: `sum by (mode) (${rate('node_cpu_seconds_total', 'mode!="idle"')}) / scalar(count(${s('node_cpu_seconds_total', 'mode="idle"')}))`, unit: 'percent', stack: true },
        { title: 'Load', expr: `{__name__=~"node_load(1|5|15)", ${inner}}`, unit: 'none' },
        { title: 'Memory in use', expr: `${s('node_memory_MemTotal_bytes')} - ${s('node_memory_MemAvailable_bytes')}`, unit: 'bytes' },
        { title: 'Pressure (share of time that some task waits)', expr: ['cpu', 'io', 'memory'].map((resource) => `label_replace(rate(node_pressure_${resource}_waiting_seconds_total{${inner}}[1m]), "resource", "${resource}", "", "")`).join(' or '), unit: 'percent' },
      ],
    },
    {
      title: 'Processes',
      charts: [
        { title: 'Processor, the largest groups', expr: `topk(8, sum by (groupname) (${rate('namedprocess_namegroup_cpu_seconds_total')}))`, unit: 'none' },
        { title: 'Memory, the largest groups', expr: `topk(8, ${s('namedprocess_namegroup_memory_bytes', 'memtype="resident"')})`, unit: 'bytes' },
        { title: 'Processes and threads', expr: `label_replace(${s('node_processes_pids')}, "kind", "processes", "", "") or label_replace(${s('node_processes_threads')}, "kind", "threads", "", "")`, unit: 'none' },
        { title: 'Ends of processes in five minutes', expr: `sum by (groupname, signal, code) (increase(${s('bellwether_process_exits_total')}[5m])) > 0`, unit: 'none' },
      ],
    },
    {
      title: 'Disks and file systems',
      charts: [
        { title: 'Disk busy', expr: `sum by (device) (${rate('node_disk_io_time_seconds_total')})`, unit: 'percent' },
        { title: 'Disk read', expr: `sum by (device) (${rate('node_disk_read_bytes_total')})`, unit: 'bytes/s' },
        { title: 'Disk written', expr: `sum by (device) (${rate('node_disk_written_bytes_total')})`, unit: 'bytes/s' },
        { title: 'File systems in use', expr: `max by (mountpoint) (1 - ${s('node_filesystem_avail_bytes', 'fstype!~"tmpfs|overlay|squashfs"')} / ${s('node_filesystem_size_bytes', 'fstype!~"tmpfs|overlay|squashfs"')})`, unit: 'percent', max: 1 },
      ],
    },
    {
      title: 'Network',
      charts: [
        { title: 'Received', expr: `sum by (device) (${rate('node_network_receive_bytes_total', 'device!="lo"')})`, unit: 'bytes/s' },
        { title: 'Sent', expr: `sum by (device) (${rate('node_network_transmit_bytes_total', 'device!="lo"')})`, unit: 'bytes/s' },
        { title: 'Errors and drops', expr: `sum by (device) (${rate('node_network_receive_errs_total')} + ${rate('node_network_receive_drop_total')})`, unit: 'per-second' },
        { title: 'TCP connections', expr: s('node_netstat_Tcp_CurrEstab'), unit: 'none' },
      ],
    },
  ];
}
