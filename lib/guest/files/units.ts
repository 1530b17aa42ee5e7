/**
 * The systemd units put into images. Images without systemd run the same programs from the inittab that
 * banger's initramfs writes.
 *
 * Every unit asks for `/run/banger/bin/busybox`, which only that initramfs leaves: the same image booted
 * by anything else just skips them.
 */

/**
 * For boots on which banger's initramfs has not applied it already, or not all of it. As early as it can be: the
 * initramfs has mounted every disk and loaded every module, so this waits for nothing. Whoever brings up networks
 * or ssh waits for it.
 */
export const NETWORK_UNIT = `[Unit]
Description=Apply banger's configuration of this boot
DefaultDependencies=no
ConditionPathExists=/run/banger/bin/busybox
ConditionPathExists=!/run/banger/applied
Wants=network-pre.target
Before=network-pre.target network.target ssh.service sshd.service ssh.socket banger-vsock-agent.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
Nice=-10
ExecStart=/usr/local/libexec/banger-network-bootstrap

[Install]
WantedBy=multi-user.target
`;

/**
 * The agent runs already: banger's initramfs has started it (`AGENT_START`), since its own start is what a boot
 * waits for longest. The service takes it over, and starts it anew where it ends.
 *
 * Commands of users run in the agent's control group. So one of them that runs out of memory must not
 * take the agent along (OOMPolicy), and neither the usual limit on tasks nor the one on restarts applies.
 *
 * Whoever waits for the boot waits for the taking over, so it goes before what else would start at that moment
 * (Before, Nice); an agent that it starts anew does not (CPUSchedulingResetOnFork).
 */
export const AGENT_UNIT = `[Unit]
Description=banger's agent in this machine
DefaultDependencies=no
ConditionPathExists=/run/banger/bin/busybox
After=banger-network.service
Before=dev-mqueue.mount kmod-static-nodes.service systemd-journald.service systemd-modules-load.service
Before=systemd-remount-fs.service systemd-sysctl.service systemd-tmpfiles-setup-dev.service
Conflicts=shutdown.target
Before=shutdown.target
StartLimitIntervalSec=0

[Service]
Type=forking
PIDFile=/run/banger/agent.pid
ExecStart=/run/banger/bin/busybox sh /usr/local/libexec/banger-agent-start
Nice=-10
CPUSchedulingPolicy=other
CPUSchedulingResetOnFork=true
Restart=always
RestartSec=1
TimeoutStartSec=20
OOMPolicy=continue
TasksMax=infinity
TimeoutStopSec=10

[Install]
WantedBy=multi-user.target
`;

/** Type=simple: a package manager that takes minutes must not hold up the boot. */
export const FIRST_BOOT_UNIT = `[Unit]
Description=Give this machine an ssh server
ConditionPathExists=/run/banger/bin/busybox
ConditionPathExists=/var/lib/banger/first-boot-pending
After=banger-network.service
StartLimitIntervalSec=600
StartLimitBurst=4

[Service]
Type=simple
ExecStart=/usr/local/libexec/banger-first-boot
Restart=on-failure
RestartSec=20
RestartPreventExitStatus=3

[Install]
WantedBy=multi-user.target
`;

/** The transport's module; banger's initramfs has it loaded already, others may not. */
export const VSOCK_MODULES = `# Written by banger: the agent listens on vsock.
vmw_vsock_virtio_transport
`;
