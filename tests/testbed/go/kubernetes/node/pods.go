package main

import (
	"strings"

	"github.com/google/cadvisor/lib/model"
	kubelet "k8s.io/kubelet/pkg/types"
	"k8s.io/kubernetes/pkg/kubelet/cadvisor"
)

// cgroups holds the pods of all nodes of this machine: NODE/NAMESPACE/POD/CONTAINER, with the processes of the container.
const cgroups = "/prom-federate-testbed/"

// pods tells what a container runtime would tell cAdvisor about the cgroups of its pods. Every number is cAdvisor's.
type pods struct {
	cadvisor.Interface
	node string
}

func (p pods) GetRequestedContainersInfo(name string, options model.RequestOptions) (map[string]*model.ContainerInfo, error) {
	containers, err := p.Interface.GetRequestedContainersInfo(name, options)
	machine := containers["/"]
	for path, container := range containers {
		inside, isOurs := strings.CutPrefix(path, cgroups+p.node+"/")
		names := strings.Split(inside, "/")
		if !isOurs || len(names) < 2 {
			continue
		}
		container.Spec.Labels = map[string]string{
			kubelet.KubernetesPodNamespaceLabel: names[0],
			kubelet.KubernetesPodNameLabel:      names[1],
		}
		if len(names) > 2 {
			container.Spec.Labels[kubelet.KubernetesContainerNameLabel] = names[2]
			container.Spec.Image = "testbed.invalid/" + names[2]
			container.Aliases = []string{strings.Join(names, "_")}
		} else if machine != nil && len(machine.Stats) > 0 {
			// The pod is in the network of its node.
			container.Spec.HasNetwork = true
			for index, stats := range container.Stats {
				with := *stats
				with.Network = machine.Stats[0].Network
				container.Stats[index] = &with
			}
		}
	}
	return containers, err
}
