// Command node is one Kubernetes node without containers. The kubelet's server is the real one: HTTPS, authentication and
// authorization that ask the API server, and cAdvisor reading the cgroups of this machine. So is the prober. Only the
// container runtime and the container manager below it are kubemark's hollow ones, so pods are accepted and never run. A
// cgroup may stand for one: pods.go.
//
// Kubemark's own command is not used, because it serves plain HTTP and invented cAdvisor numbers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/cri-client/pkg"
	fakecri "k8s.io/cri-client/pkg/fake"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cadvisor"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	"k8s.io/kubernetes/pkg/kubemark"
)

// node is what the command line says.
type node struct {
	name       string
	address    string
	port       int
	certDir    string
	clientCA   string
	kubeconfig string
}

func main() {
	var n node
	flag.StringVar(&n.name, "name", "", "name of the node")
	flag.StringVar(&n.address, "address", "", "address of this machine under which the API server finds the kubelet")
	flag.IntVar(&n.port, "port", 0, "port of the kubelet")
	flag.StringVar(&n.certDir, "cert-dir", "", "folder for the serving certificate that the kubelet makes for itself")
	flag.StringVar(&n.clientCA, "client-ca-file", "", "authority of client certificates, the API server's among them")
	flag.StringVar(&n.kubeconfig, "kubeconfig", "", "how to reach the API server")
	flag.Parse()
	if err := n.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func (n *node) run(ctx context.Context) error {
	rest, err := clientcmd.BuildConfigFromFlags("", n.kubeconfig)
	if err != nil {
		return err
	}
	rest.QPS = -1 // every request of a test's scrape is one access review, and none may wait for the client's own limit
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}

	flags, kubelet := kubemark.GetHollowKubeletConfig(&kubemark.HollowKubeletOptions{
		NodeName:    n.name,
		KubeletPort: n.port,
		MaxPods:     110,
	})
	// kubemark puts it into /tmp, where it would stay; TMPDIR goes with the testbed.
	root := filepath.Join(os.TempDir(), filepath.Base(flags.RootDirectory))
	if err := os.Rename(flags.RootDirectory, root); err != nil {
		return err
	}
	for _, path := range []*string{&kubelet.StaticPodPath, &kubelet.PodLogsDir} {
		*path = strings.Replace(*path, flags.RootDirectory, root, 1)
	}
	flags.RootDirectory = root
	flags.NodeIP = n.address
	flags.CertDirectory = n.certDir
	kubelet.Authentication.Anonymous.Enabled = false
	kubelet.Authentication.Webhook.Enabled = true
	kubelet.Authentication.X509.ClientCAFile = n.clientCA
	kubelet.Authorization.Mode = config.KubeletAuthorizationModeWebhook
	kubelet.NodeStatusUpdateFrequency.Duration = time.Second

	machine, err := cadvisor.New(klog.FromContext(ctx), nil, flags.RootDirectory, []string{"/"}, false, false, false)
	if err != nil {
		return fmt.Errorf("cAdvisor: %w", err)
	}
	endpoint, err := fakecri.GenerateEndpoint()
	if err != nil {
		return err
	}
	runtime := fakecri.NewFakeRemoteRuntime()
	if err := runtime.Start(endpoint); err != nil {
		return fmt.Errorf("hollow container runtime: %w", err)
	}
	containers, err := cri.NewRemoteRuntimeServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(15 * time.Second).Build(ctx)
	if err != nil {
		return fmt.Errorf("hollow container runtime: %w", err)
	}

	hollow := kubemark.NewHollowKubelet(flags, kubelet, client, client, pods{machine, n.name}, runtime.ImageService, containers, cm.NewStubContainerManager())
	// The hollow one finds every container healthy without a probe.
	hollow.KubeletDeps.ProbeManager = nil
	// Without these two the hollow kubelet answers everybody, over plain HTTP.
	if hollow.KubeletDeps.TLSOptions, err = app.InitializeTLS(ctx, flags, kubelet); err != nil {
		return fmt.Errorf("serving certificate: %w", err)
	}
	auth, reloadClientCA, err := app.BuildAuth(types.NodeName(n.name), client, *kubelet)
	if err != nil {
		return fmt.Errorf("authentication: %w", err)
	}
	reloadClientCA(ctx.Done())
	hollow.KubeletDeps.Auth = auth

	hollow.Run(ctx)
	return errors.New("the kubelet ended")
}
